"""The method that a header field asks for instead of the method of the request.

Many frameworks treat a POST with `X-HTTP-Method-Override: DELETE` as a DELETE. A route for DELETE would never apply to it.

Rules:
- Servers read such a value differently: in any letter case, the first or the last of a list, with parameters or quotes. Every
  word in the value is therefore a method that it may mean.
- A value with other characters may mean any method, and so may a value with more words than any client needs.
"""

import re
from typing import Final

OVERRIDES: Final = frozenset([b"x-http-method-override", b"x-http-method", b"x-method-override"])
"""The names of these fields, folded. Google, Microsoft and IBM each introduced one of them."""

ANY: Final = "*"
_READABLE: Final = re.compile(rb'[A-Za-z0-9_\-,;=" \t]*')
_WORD: Final = re.compile(rb"[A-Za-z0-9_-]+")
_MOST: Final = 8


def named_methods(values: bytes) -> frozenset[str]:
    """The methods, in upper case, that a list of such values may mean; `ANY` when it may mean any method."""
    if not _READABLE.fullmatch(values):
        return frozenset([ANY])
    words = set(_WORD.findall(values.upper()))
    return frozenset(word.decode() for word in words) if len(words) <= _MOST else frozenset([ANY])
