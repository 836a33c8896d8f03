"""Percent-encoding (RFC 3986 section 2.1), decoded by C code."""

import binascii
import re
from typing import Final

BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def percent_decoded(data: bytes) -> bytes:
    """Decode `data`, which must not contain a `BROKEN_ESCAPE`.

    Quoted-printable (RFC 2045 section 6.7) is the same encoding with another sign, and has a decoder in C. urllib's decoder
    takes 2 ms for 64 KiB, which would block the event loop.
    """
    return binascii.a2b_qp(data.replace(b"=", b"=3D").replace(b"%", b"="))
