"""What a registration must look like; all that is wrong is told at once."""

import re
import unicodedata

from understudy.actors.errors import Detail, Invalid

LONGEST_EMAIL = 254
LONGEST_PASSWORD = 128
LONGEST_NAME = 100

# RFC 5322 addr-spec without comments and folding: a dot-atom or a quoted string, "@", a dot-atom or a domain literal.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_LITERAL = r"\[[!-Z^-~]*\]"
_ADDR_SPEC = re.compile(rf"(?:{_DOT_ATOM}|{_QUOTED})@(?:{_DOT_ATOM}|{_LITERAL})")


def normalized_email(email: str) -> str:
    """The form that is stored and compared: two spellings that differ only in case are one account."""
    return email.lower()


def is_email(text: str) -> bool:
    """Whether *text* is an RFC 5322 addr-spec of a length that mail can be sent to."""
    return len(text) <= LONGEST_EMAIL and _ADDR_SPEC.fullmatch(text) is not None


def check_registration(email: str, password: str, name: str | None, *, shortest_password: int) -> None:
    """Raise `Invalid` with one detail for each thing that is wrong."""
    wrong = []
    if len(email) > LONGEST_EMAIL:
        wrong.append(Detail("email", "too_long", LONGEST_EMAIL))
    elif not is_email(email):
        wrong.append(Detail("email", "malformed"))
    if len(password) < shortest_password:
        wrong.append(Detail("password", "too_short"))
    elif len(password) > LONGEST_PASSWORD:
        wrong.append(Detail("password", "too_long", LONGEST_PASSWORD))
    if name is not None:
        if len(name) > LONGEST_NAME:
            wrong.append(Detail("name", "too_long", LONGEST_NAME))
        elif not _is_line(name):
            wrong.append(Detail("name", "malformed"))
    if wrong:
        fields = ", ".join(f"{detail.path} {detail.issue.replace('_', ' ')}" for detail in wrong)
        raise Invalid(f"the registration is not valid: {fields}", details=tuple(wrong))


def _is_line(text: str) -> bool:
    # Controls, surrogates and unassigned code points have no place in a name, and PostgreSQL takes no NUL.
    return bool(text.strip()) and not any(unicodedata.category(char) in {"Cc", "Cs", "Cn"} for char in text)
