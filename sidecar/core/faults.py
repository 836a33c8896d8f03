"""A fault of something that an operator registers (a client, a key, a route), as a value.

The rules return faults instead of raising, so that all of them can be shown at once. The caller adds the place: the
configuration adds the path in its file, an API would add the name in its request.
"""

from typing import NamedTuple


class FieldFault(NamedTuple):
    """A fault of a `field`. `None` means that the fields do not fit together, and no single one is at fault.

    The message says what would be right and never shows a value.
    """

    field: str | None
    message: str
