"""The body of a request: read by the sidecar, sent together with the head, or streamed to the upstream.

Rules:
- A streamed body has its own task, and flows as fast as the slower side allows.
- The upstream must not take a partial body for the whole: when the rest will not arrive, the upstream connection is aborted.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from sidecar.core.reasons import Reason, Refused
from sidecar.proxy.ports import UpstreamLink
from sidecar.proxy.request import Body, BodyTooLarge, Message, RequestBroken, declared_length

_SMALL_REST: Final = 64 * 1024


def check_declared(message: Message, limit: int) -> None:
    """Raises `BodyTooLarge` when the request declares more than `limit` bytes."""
    length = declared_length(message)
    if length is not None and length > limit:
        raise BodyTooLarge


def read_at_hand(payload: Body, limit: int | None) -> bytes:
    """The part of a body that has arrived. Raises `BodyTooLarge` beyond `limit` bytes, and `RequestBroken`."""
    return bytes(_within(payload.read_nowait(), limit))


async def read_whole(payload: Body, limit: int, seconds: float) -> bytes:
    """A whole body. Raises `BodyTooLarge` as soon as it is known to exceed `limit` bytes, `RequestBroken`, and `Refused` when
    it does not arrive within `seconds`."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while data := await payload.readany():
                body += data
                del data  # while the next bytes are awaited, which a client may never send
                _within(body, limit)
    except TimeoutError:
        raise Refused(Reason.REQUEST_TIMEOUT) from None
    except RequestBroken as exc:
        # The body keeps its exception. With this traceback the two would keep each other until the next garbage collection.
        exc.__traceback__ = None
        raise RequestBroken from None
    return bytes(body)


def _within(body: bytes | bytearray, limit: int | None) -> bytes | bytearray:
    if limit is not None and len(body) > limit:
        raise BodyTooLarge
    return body


def chunk(data: bytes) -> bytes:
    """`data` as a chunk (RFC 9112 section 7.1); empty for empty data, because an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def rest_is_small(message: Message, payload: Body, *, expects_continue: bool) -> bool:
    """Whether the rest of an unneeded body is certain to arrive, and small enough to read and drop. Without 100 the client
    may or may not send its body, so what follows is unknown."""
    length = declared_length(message)
    if expects_continue or length is None or payload.exception() is not None:
        return False
    return length <= _SMALL_REST


class BodySender:
    """Streams the body of one request to the upstream. `limit` is in bytes; `last_chunk` gives the end of a chunked body,
    with its trailers; `passed` is called when the whole body was sent, and `broken` is told why the rest is not sent."""

    __slots__ = ("_broken", "_last_chunk", "_limit", "_message", "_passed", "_payload", "_task")

    def __init__(
        self,
        message: Message,
        payload: Body,
        *,
        limit: int | None,
        last_chunk: Callable[[], bytes],
        passed: Callable[[], None],
        broken: Callable[[Reason], None],
    ) -> None:
        self._message = message
        self._payload = payload
        self._limit = limit
        self._last_chunk = last_chunk
        self._passed = passed
        self._broken = broken
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<BodySender {'sent' if self.sent else 'sending' if self.sending else 'waiting'}>"

    @property
    def sending(self) -> bool:
        """Whether sending to an upstream has started and has not ended."""
        return self._task is not None and not self._task.done()

    @property
    def sent(self) -> bool:
        """Whether sending has ended."""
        return self._task is not None and self._task.done()

    def start(self, upstream: UpstreamLink, loop: asyncio.AbstractEventLoop) -> None:
        """Start sending the body to `upstream`, which already has the head."""
        self._task = loop.create_task(self._send(upstream))

    def stop(self) -> None:
        """Stop sending. Has no effect when called from within the sending task, which ends by itself."""
        if self._task is not None and not self._task.done() and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _send(self, upstream: UpstreamLink) -> None:
        try:
            await self._pass_on(upstream)
        except BodyTooLarge:
            upstream.abort()
            self._broken(Reason.BODY_TOO_LARGE)
        except Exception as exc:  # noqa: BLE001  aiohttp passes any failure on to the payload: a bad chunk, a lost connection
            exc.__traceback__ = None  # see `read_whole`
            upstream.abort()
            self._broken(Reason.MALFORMED_REQUEST)

    async def _pass_on(self, upstream: UpstreamLink) -> None:
        chunked, size = self._message.chunked, 0
        while data := await self._payload.readany():
            size += len(data)
            if self._limit is not None and size > self._limit:
                raise BodyTooLarge
            upstream.write(chunk(data) if chunked else data)
            await upstream.drain()
        if chunked:
            upstream.write(self._last_chunk())
        self._passed()
