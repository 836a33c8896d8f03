"""The trailer section of a chunked request (RFC 9112 section 7.1.2), found from its end.

aiohttp's parser reads trailers and keeps them to itself. It alone knows where a body ends; but a read that ends where a request
ends can be read backwards. There the lines are fields, until one that cannot be a field: that is the last chunk, of size 0.
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
    """The fields of `names` (lower case) in the trailer section that `end`, the last bytes of a request, holds; serialised.

    Empty when there are none, or when it cannot be told where they begin: a recipient may leave trailers out (RFC 9110
    section 6.5.1).
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
