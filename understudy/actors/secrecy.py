"""Which words say that something is a secret: one list, and what each place where they are looked for adds to it."""

import re

_WORDS = r"pass(?:word|phrase|code)|secret|token|api[-_ ]?key|credential"
_FIELDS = rf"{_WORDS}|pass|authorization|cookie|private[-_]?key"

SECRET_SENTENCE = re.compile(rf"{_WORDS}|\bpin\b|card number", re.IGNORECASE)
"""What is in a sentence that gives a secret away."""

SECRET_FIELD = re.compile(_FIELDS, re.IGNORECASE)
"""What is in the name of a field whose value is not shown. A plain ``key`` is mostly something else's name."""

SECRET_HEADER = re.compile(rf"{_FIELDS}|auth|key|session|signature", re.IGNORECASE)
"""What is in the name of a header whose value is nobody's business but its addressee's."""
