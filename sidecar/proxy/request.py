"""What is known of a request besides its message: how long its body is, and what was read of the head before it."""

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from sidecar.core.admission import VerifiedToken
from sidecar.core.http.request_headers import RequestHeaders
from sidecar.core.replies import Reply

Request = tuple[RawRequestMessage, StreamReader]
"""The head of a request, and its body as it comes: `EMPTY_PAYLOAD` without one."""


class RequestBroken(Exception):
    """The rest of a request's body will not come: the connection was lost or its framing is broken."""


class BodyTooLarge(Exception):
    """A body is larger than what we read of one."""


def declared_length(message: RawRequestMessage) -> int | None:
    """The request's `Content-Length` in bytes; `None` when it is chunked."""
    if message.chunked:
        return None
    digits = message.headers.get("Content-Length")
    return int(digits.lstrip("0") or "0") if digits else 0  # Python counts zeros against what it reads of a number


class HeadMemo:
    """What was read of the last header section of a connection, by which rules: most clients repeat themselves. Nothing that
    was decided is kept here."""

    __slots__ = ("again", "block", "block_of", "headers", "raw", "rules", "token", "unusable", "version")

    def __init__(self) -> None:
        self.rules: object = None
        self.version: object = None
        self.raw: object = None
        self.headers: RequestHeaders | None = None
        self.again: object = None  # `raw`, when the following is known, and `block` belongs to it
        self.token: VerifiedToken | None = None  # the one in `headers`
        self.unusable: Reply | None = None  # the answer, when `headers` hold no token that could ever be used
        self.block = b""  # what goes on of `headers`, with the identity of `block_of`
        self.block_of: VerifiedToken | None = None

    def begin(self, rules: object, version: object, raw: object, headers: RequestHeaders) -> None:
        """Forget the section before, and keep what was read of this one."""
        self.rules, self.version, self.raw, self.headers = rules, version, raw, headers
        self.again = self.token = self.unusable = self.block_of = None
