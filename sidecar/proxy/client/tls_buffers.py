"""What uvloop keeps for a TLS connection, which it shows to no one: the transport that carries the records, and a buffer of
256 KiB for what arrives. Where this uvloop has other parts than expected, nothing is found and nothing is done.
"""

import asyncio
import contextlib
import ctypes
import gc
import mmap
from typing import Final

_DONTNEED: Final = getattr(mmap, "MADV_DONTNEED", None)
_PAGE: Final = mmap.PAGESIZE


def carrier(secure: asyncio.WriteTransport) -> asyncio.WriteTransport | None:
    """The transport beneath a TLS transport."""
    for found in gc.get_referents(secure.get_extra_info("uvloop.sslproto")):
        if found is not secure and hasattr(found, "get_write_buffer_size"):
            beneath: asyncio.WriteTransport = found
            return beneath
    return None


def give_back(secure: asyncio.WriteTransport) -> int:
    """Give the pages of the buffer back to the system, which gives them again as they are used. Returns their size in bytes.
    Between two reads the buffer holds nothing.

    Most of the buffer is never used. But the allocator makes it from memory that was used before, so the connection would take
    all of it.
    """
    protocol = secure.get_extra_info("uvloop.sslproto")
    if protocol is None or _DONTNEED is None:
        return 0
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        buffer = protocol.get_buffer(1)
        start = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        first = -(-start // _PAGE) * _PAGE
        size = (start + len(buffer)) // _PAGE * _PAGE - first
        if size > 0 and _madvise(first, size, _DONTNEED) == 0:
            return size
    return 0


def _madvise(address: int, size: int, advice: int) -> int:
    return int(_LIBC.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), advice))


_LIBC: Final = ctypes.CDLL(None)
