"""What is known of a request besides its message: the length of its body, and what was read from the previous head."""

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from sidecar.core.admission import VerifiedToken
from sidecar.core.http.request_headers import RequestHeaders
from sidecar.core.replies import Reply

Request = tuple[RawRequestMessage, StreamReader]
"""The head of a request, and its body as it arrives: `EMPTY_PAYLOAD` without one."""


class RequestBroken(Exception):
    """The rest of a request body will not arrive: the connection was lost or the framing is broken."""


class BodyTooLarge(Exception):
    """A body exceeds the limit that applies to it."""


def declared_length(message: RawRequestMessage) -> int | None:
    """The request's `Content-Length` in bytes; `None` when it is chunked."""
    if message.chunked:
        return None
    digits = message.headers.get("Content-Length")
    return int(digits.lstrip("0") or "0") if digits else 0  # Python limits digits, zeros included


class HeadMemo:
    """What was read from the last header section of a connection, and by which rules, because most clients repeat themselves.
    It contains no decisions."""

    __slots__ = ("again", "block", "block_of", "headers", "raw", "rules", "token", "unusable", "version")

    def __init__(self) -> None:
        self.rules: object = None
        self.version: object = None
        self.raw: object = None
        self.headers: RequestHeaders | None = None
        self.again: object = None  # `raw`, if the fields below are known and `block` belongs to it
        self.token: VerifiedToken | None = None  # the token in `headers`
        self.unusable: Reply | None = None  # the reply, if `headers` hold no token that could ever be used
        self.block = b""  # the part of `headers` to forward, with the identity of `block_of`
        self.block_of: VerifiedToken | None = None

    def begin(self, rules: object, version: object, raw: object, headers: RequestHeaders) -> None:
        """Discard the previous section, and keep what was read from this one."""
        self.rules, self.version, self.raw, self.headers = rules, version, raw, headers
        self.again = self.token = self.unusable = self.block_of = None
