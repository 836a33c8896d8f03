"""The body of a request: read by us, sent on with its head, or streamed to the upstream.

Rules:
- A body flows from the client to the upstream in a task of its own, as fast as the slower side takes it.
- The upstream must not take a part of a body for the whole: when the rest will not come, its connection is given up.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from sidecar.core.reasons import Reason, Refused
from sidecar.proxy.ports import UpstreamLink
from sidecar.proxy.request import BodyTooLarge, declared_length

_SMALL_REST: Final = 64 * 1024


def check_declared(message: RawRequestMessage, limit: int) -> None:
    """Raises `BodyTooLarge` when the request announces more than `limit` bytes."""
    length = declared_length(message)
    if length is not None and length > limit:
        raise BodyTooLarge


def read_at_hand(payload: StreamReader, limit: int | None) -> bytes:
    """What came of a body. Raises `BodyTooLarge` beyond `limit` bytes, and `RequestBroken`."""
    return bytes(_within(payload.read_nowait(), limit))


async def read_whole(payload: StreamReader, limit: int, seconds: float) -> bytes:
    """A whole body. Raises `BodyTooLarge` beyond `limit` bytes, as soon as that is known, `RequestBroken`, and `Refused` when
    it does not come within `seconds`."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while data := await payload.readany():
                body += data
                _within(body, limit)
    except TimeoutError:
        raise Refused(Reason.REQUEST_TIMEOUT) from None
    return bytes(body)


def _within(body: bytes | bytearray, limit: int | None) -> bytes | bytearray:
    if limit is not None and len(body) > limit:
        raise BodyTooLarge
    return body


def chunk(data: bytes) -> bytes:
    """`data` as a chunk (RFC 9112 section 7.1); nothing for no data, which would be the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def rest_is_small(message: RawRequestMessage, payload: StreamReader, *, expects_continue: bool) -> bool:
    """Whether the rest of a body that nobody needs is known to come, and so small that it is read and dropped. Without 100 the
    client may send its body or not: what comes next cannot be known."""
    length = declared_length(message)
    if expects_continue or length is None or payload.exception() is not None:
        return False
    return length <= _SMALL_REST


class BodySender:
    """The body of one request on its way to the upstream. `limit` in bytes; `last_chunk` gives the end of a chunked one, with
    its trailers; `broken` is told why the rest is not sent."""

    __slots__ = ("_broken", "_last_chunk", "_limit", "_message", "_payload", "_task")

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        *,
        limit: int | None,
        last_chunk: Callable[[], bytes],
        broken: Callable[[Reason], None],
    ) -> None:
        self._message = message
        self._payload = payload
        self._limit = limit
        self._last_chunk = last_chunk
        self._broken = broken
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<BodySender {'sent' if self.sent else 'sending' if self.sending else 'waiting'}>"

    @property
    def sending(self) -> bool:
        """Whether there is an upstream, and more to come."""
        return self._task is not None and not self._task.done()

    @property
    def sent(self) -> bool:
        """Whether nothing more is sent."""
        return self._task is not None and self._task.done()

    def start(self, upstream: UpstreamLink, loop: asyncio.AbstractEventLoop) -> None:
        """Send the body to `upstream`, which has the head."""
        self._task = loop.create_task(self._send(upstream))

    def stop(self) -> None:
        """Send no more. From within the sending it does nothing: that ends by itself."""
        if self._task is not None and not self._task.done() and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _send(self, upstream: UpstreamLink) -> None:
        try:
            await self._pass_on(upstream)
        except BodyTooLarge:
            upstream.abort()
            self._broken(Reason.BODY_TOO_LARGE)
        except Exception:  # noqa: BLE001  aiohttp gives the payload whatever broke: a bad chunk, a lost connection
            upstream.abort()
            self._broken(Reason.MALFORMED_REQUEST)

    async def _pass_on(self, upstream: UpstreamLink) -> None:
        chunked, passed = self._message.chunked, 0
        while data := await self._payload.readany():
            passed += len(data)
            if self._limit is not None and passed > self._limit:
                raise BodyTooLarge
            upstream.write(chunk(data) if chunked else data)
            await upstream.drain()
        if chunked:
            upstream.write(self._last_chunk())
