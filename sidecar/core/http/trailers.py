"""The trailer section of a chunked request (RFC 9112 section 7.1.2), parsed backwards from its end.

aiohttp's parser reads trailer fields but does not expose them, and only it knows where a body ends. When a read ends where a
request ends, its last lines are trailer fields, back to a line that cannot be a field: the last chunk, of size 0.
"""

import re
from collections.abc import Set
from typing import Final

_END: Final = b"\r\n\r\n"
_FIELD: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?[ \t]*"
)
_LAST_CHUNK: Final = re.compile(rb"0+[ \t]*(?:;[\t -~\x80-\xff]*)?")


def trailer_section(end: bytes, names: Set[bytes]) -> bytes:
    """The fields with `names` (lower case) in the trailer section at the `end` of a request, serialised.

    Empty when there are none, or when `end` does not contain the beginning of the section: a recipient may discard trailer
    fields (RFC 9110 section 6.5.1).
    """
    if not end.endswith(_END):
        return b""
    found: list[bytes] = []
    for line in reversed(end[: -len(_END)].split(b"\r\n")):
        if _LAST_CHUNK.fullmatch(line):
            return b"".join(reversed(found))
        field = _FIELD.fullmatch(line)
        if field is None:
            break
        if field[1].lower() in names:
            found.append(b"%b: %b\r\n" % (field[1], field[2] or b""))
    return b""
