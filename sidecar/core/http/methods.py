"""The method that a header asks for in the place of the request's own.

Many frameworks take `X-HTTP-Method-Override: DELETE` on a POST for a DELETE. A rule for DELETE would never see it.

Rules:
- Servers read such a value differently: in any case, the first of a list or the last, with parameters or quotes. So every
  word in it is a method that may be meant.
- A value that holds anything else may mean any method. So may one that names more than anybody has a use for.
"""

import re
from typing import Final

OVERRIDES: Final = frozenset([b"x-http-method-override", b"x-http-method", b"x-method-override"])
"""The names of such headers, as they are compared. Google, Microsoft and IBM began to use one each."""

ANY: Final = "*"
_READABLE: Final = re.compile(rb'[A-Za-z0-9_\-,;=" \t]*')
_WORD: Final = re.compile(rb"[A-Za-z0-9_-]+")
_MOST: Final = 8


def named_methods(values: bytes) -> frozenset[str]:
    """The methods, in capitals, that a list of such values may mean; `ANY` when that cannot be told."""
    if not _READABLE.fullmatch(values):
        return frozenset([ANY])
    words = set(_WORD.findall(values.upper()))
    return frozenset(word.decode() for word in words) if len(words) <= _MOST else frozenset([ANY])
