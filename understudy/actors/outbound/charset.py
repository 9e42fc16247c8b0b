"""Which encoding a document says that it is in. Python knows others than documents are written in, some very slow."""

import codecs
import re

_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_PLAIN_CODECS = re.compile(
    r"utf-?(8|16|32)([-_](le|be|sig))?|ascii|latin-?1|iso-?8859-\d+|iso8859-\d+|cp\d+|koi8-[ru]|mac-roman|shift_jis"
    r"|euc_(jp|kr)|gb2312|gbk|gb18030|big5(hkscs)?|tis-620"
)


def known_charset(name: str) -> str | None:
    """The encoding's own name, if it is one that documents are written in."""
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    return found if _PLAIN_CODECS.fullmatch(found) else None


def charset_of(content_type: str) -> str | None:
    """The encoding that a ``Content-Type`` names, if it is a `known_charset`."""
    found = _CHARSET.search(content_type)
    return known_charset(found[1]) if found else None
