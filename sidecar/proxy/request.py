"""What is known of a request: its head, its body as it arrives, and the length of that."""

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from sidecar.core.http import request_ids
from sidecar.core.http.plain_heads import PlainHead
from sidecar.proxy.small_body import SmallBody

Message = RawRequestMessage | PlainHead
"""The head of a request, by the parser or by its shape."""

Body = StreamReader | SmallBody
"""The body of a request as it arrives: `EMPTY_PAYLOAD` without one."""

Request = tuple[RawRequestMessage, StreamReader]
"""A request that the parser read."""


class RequestBroken(Exception):
    """The rest of a request body will not arrive: the connection was lost or the framing is broken."""


class BodyTooLarge(Exception):
    """A body exceeds the limit that applies to it."""


def declared_length(message: Message) -> int | None:
    """The request's `Content-Length` in bytes; `None` when it is chunked."""
    if isinstance(message, PlainHead):
        return message.section.length
    if message.chunked:
        return None
    digits = message.headers.get("Content-Length")
    return int(digits.lstrip("0") or "0") if digits else 0  # Python limits digits, zeros included


def request_id(message: Message) -> str | None:
    """The id that the caller gave the request, if it gave one."""
    if isinstance(message, PlainHead):
        return request_ids.request_id(message.section.raw)
    return request_ids.request_id(b"\r\n".join(name + b": " + value for name, value in message.raw_headers))
