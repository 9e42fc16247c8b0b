"""Texts that fit."""


def cut(text: str, longest: int) -> str:
    """*text*, of at most *longest* characters: what was longer ends with ``…``."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def one_line(text: str, longest: int) -> str:
    """*text* in one line, with single spaces, of at most *longest* characters."""
    return cut(" ".join(text.split()), longest)
