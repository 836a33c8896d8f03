"""Percent-encoding (RFC 3986 section 2.1), decoded at the speed of C."""

import binascii
import re
from typing import Final

BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def percent_decoded(data: bytes) -> bytes:
    """Undo the encoding of `data`, which holds no `BROKEN_ESCAPE`.

    Quoted-printable (RFC 2045 section 6.7) is the same with another sign, and has a decoder in C: urllib's takes 2 ms for
    64 KiB, in which nobody else is served.
    """
    return binascii.a2b_qp(data.replace(b"=", b"=3D").replace(b"%", b"="))
