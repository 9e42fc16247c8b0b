"""What people read of a page."""

from html.parser import HTMLParser

LONGEST_OPEN = 4096
"""Characters of markup that was begun and never ends; the rest is passed over: it would be read again and again."""


def readable(html: str) -> str:
    """The text of an HTML page, without scripts, styles and markup. Blocks.

    Of what Python's parser gives up on (``<![x[``) it is the markup as it is.
    """
    reader = _Reader()
    try:
        reader.feed(html)
        if reader.rawdata.startswith("<"):
            reader.rawdata = reader.rawdata[:LONGEST_OPEN]
        reader.close()
    except AssertionError:
        return html
    lines = (" ".join(line.split()) for line in "".join(reader.pieces).splitlines())
    return "\n".join(line for line in lines if line)


class _Reader(HTMLParser):
    _SILENT = frozenset({"script", "style", "noscript", "template", "svg"})
    _INLINE = frozenset({"a", "b", "i", "em", "strong", "span", "code", "small", "sub", "sup", "u", "abbr", "mark"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silence = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in self._SILENT:
            self._silence += 1
        elif tag not in self._INLINE:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._SILENT:
            self._silence = max(0, self._silence - 1)
        elif tag not in self._INLINE:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silence:
            self.pieces.append(data)
