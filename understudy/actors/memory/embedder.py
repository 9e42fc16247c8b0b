"""The built-in embedder: texts as vectors by hashing their parts, with no model, no key and no network.

Words, and the threes of letters within them, are counted in as many buckets as the vector is long (feature hashing,
Weinberger et al. 2009). Texts are alike when they share words or parts of words: it bears spelling and endings, and
knows nothing of meaning. Its name says what it is, and stands beside each vector it made.
"""

import math
import re
import unicodedata
import zlib
from collections.abc import Iterator

NAME = "builtin/feature-hashing-256"
DIMENSIONS = 256

LEAST_LIKENESS = 0.12
"""The cosine below which likeness is chance: two texts that share nothing come to 0 with a deviation of 0.06."""

_WORD = re.compile(r"\w+")
_PART_WEIGHT = 0.35


def embed(text: str) -> tuple[float, ...]:
    """The vector of *text*: of length one, or of zeros when there is no word in it. The same text gives the same."""
    vector = [0.0] * DIMENSIONS
    for feature, weight in _features(unicodedata.normalize("NFKC", text).casefold()):
        hashed = zlib.crc32(feature.encode("utf-8", "replace"))
        vector[hashed % DIMENSIONS] += weight if hashed & 0x8000_0000 else -weight
    length = math.hypot(*vector)
    return tuple(value / length for value in vector) if length else tuple(vector)


def _features(text: str) -> Iterator[tuple[str, float]]:
    for word in _WORD.findall(text):
        yield word, 1.0
        framed = f"^{word}$"
        for at in range(len(framed) - 2):
            yield framed[at : at + 3], _PART_WEIGHT
