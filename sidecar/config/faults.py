"""A fault of the configuration: a path in the file and a message, which never contains a configured value."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

NAMED: Final = {"clients": "client_id", "users": "username", "tokens.signing_keys": "kid"}
"""The lists whose entries have a name, and the field that contains it."""
_ENTRY: Final = re.compile(rf"({'|'.join(map(re.escape, NAMED))})\[([0-9]+)\]")


class Fault(NamedTuple):
    """What is wrong, and the path to it, such as `clients[1].grant_types[0]`. The message contains no configured value."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def with_name(fault: Fault, names: Mapping[str, Sequence[str | None]]) -> Fault:
    """The fault with the name of its entry, so that an operator need not count entries to find `clients[17]`.

    `names` are the names of the entries of each list, in order; `None` for an entry without one.
    """
    match = _ENTRY.match(fault.path)
    listed = names.get(match[1], ()) if match else ()
    name = listed[int(match[2])] if match and int(match[2]) < len(listed) else None
    return fault if name is None else Fault(fault.path, f"{fault.message} ({name})")
