"""How state is spread over the hash slots of a Redis Cluster.

A *partition* has a hash tag, so all of its keys are in one slot, on one node at a time. One atomic step touches one partition.
Rules:

- Partition `i` has the same tag for every number of partitions, so that a process that counts them differently finds what the
  others have recorded.
- The first `n` partitions lie evenly in the range of slots, and so on the nodes, which usually have equal parts of it.
- The name of a token id or of a family is read only as far as `PLACE` characters. The ids of the access tokens of a family
  begin like the family's key (`core.oauth.refresh_tokens.access_id`), so they are in its partition.
"""

import binascii
import re
from typing import Final

from sidecar.core.oauth.refresh_tokens import PLACE
from sidecar.core.revocations import family_end

SLOTS: Final = 16384
MOST: Final = 64
_FAMILY: Final = family_end("")
_TAG: Final = re.compile(r"\{([^}]+)\}")


def hash_tag(prefix: str) -> str | None:
    """The hash tag of a prefix, without braces; `None` if it has none. The rule is that of the Redis Cluster specification:
    what is between the first `{` and the next `}`, unless that is empty."""
    opening = prefix.find("{")
    match = _TAG.match(prefix, opening) if opening >= 0 else None
    return match[1] if match else None


def slot_of(tag: str) -> int:
    """The slot of the keys with this hash tag: CRC16 (XMODEM) modulo 16384."""
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


def partition_prefixes(prefix: str, count: int) -> list[str]:
    """The prefix of the keys of each partition: `prefix` with numbers inside its braces. Raises `ValueError` for a prefix
    without hash tag, and for a count that is not from 1 to `MOST`."""
    tag = hash_tag(prefix)
    if tag is None or not 1 <= count <= MOST:
        raise ValueError("a Cluster needs a prefix with a hash tag, such as {sidecar}, and 1 to 64 partitions")
    return [prefix.replace(f"{{{tag}}}", f"{{{_tag(tag, index)}}}", 1) for index in range(count)]


def _tag(tag: str, index: int) -> str:
    """The first tag whose slot is in this partition's part of the slots."""
    width = SLOTS // MOST
    part = _reversed(index) * width
    number = 0
    while not part <= slot_of(f"{tag}-{index}-{number}") < part + width:
        number += 1
    return f"{tag}-{index}-{number}"


def _reversed(index: int) -> int:
    """The bits of a number below `MOST` in reverse. Any number of first numbers is spread evenly (van der Corput)."""
    return int(f"{index:06b}"[::-1], 2)


def place_of_key(key: str, count: int) -> int:
    """The partition of a value or budget."""
    return binascii.crc32(key.encode("utf-8", "surrogatepass")) % count


def place_of_token(name: str, count: int) -> int:
    """The partition of a token id, or of a family by its key."""
    return place_of_key(name[:PLACE], count)


def place_of_entry(entry: str, count: int) -> int | None:
    """The partition of a revocation entry (`core.revocations`); `None` for a not-before time, which is in all of them."""
    if entry[:1] != " ":
        return place_of_token(entry, count)
    return place_of_token(entry[len(_FAMILY) :], count) if entry.startswith(_FAMILY) else None
