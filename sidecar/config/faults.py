"""What a fault of the configuration is: a path in the file and a text, which never holds a configured value."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple


class Fault(NamedTuple):
    """What is wrong, and where: `clients[1].grant_types[0]`. The text holds no configured value."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


_ENTRY: Final = re.compile(r"(clients|users|tokens\.signing_keys)\[([0-9]+)\]")


def with_name(fault: Fault, names: Mapping[str, Sequence[str | None]]) -> Fault:
    """The fault, with the name of the entry that it is about: who looks for `clients[17]` would have to count. `names` are
    those of the entries of each list, in order."""
    match = _ENTRY.match(fault.path)
    listed = names.get(match[1], ()) if match else ()
    name = listed[int(match[2])] if match and int(match[2]) < len(listed) else None
    return fault if name is None else Fault(fault.path, f"{fault.message} ({name})")
