"""base64url without padding (RFC 4648 section 5, RFC 7515 section 2): tokens, hashes and identifiers are written in it.

Only the canonical encoding is decoded. Padding, other characters and set bits behind the last byte are refused, so that two
texts never stand for the same bytes.
"""

import base64
import binascii


class InvalidBase64url(ValueError):
    """A text is not canonical base64url without padding. The message shows nothing of it."""


def encode(data: bytes) -> str:
    """`data` as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes that `text` encodes. Raises `InvalidBase64url`."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise InvalidBase64url("not base64url") from None
    if encode(data) != text:
        raise InvalidBase64url("not canonical")
    return data
