"""A body is read within its limit and its time, or sent on as fast as the upstream takes it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sidecar.core.reasons import Reason, Refused
from sidecar.proxy.request import BodyTooLarge, RequestBroken
from sidecar.proxy.request_body import BodySender, check_declared, chunk, read_whole, rest_is_small
from tests.support.exchanges import Road
from tests.support.waiting import eventually

POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def run(go: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(go(), 20)

    asyncio.run(bounded())


class Sending:
    """The body of a request on its way."""

    def __init__(self, road: Road, limit: int | None = None) -> None:
        self.road = road
        self.broken: list[Reason] = []
        self.passed: list[int] = []
        self.sender = BodySender(
            road.exchange.message,
            road.exchange.payload,
            limit=limit,
            last_chunk=lambda: b"0\r\nX: 1\r\n\r\n",
            passed=lambda: self.passed.append(1),
            broken=self.broken.append,
        )
        self.sender.start(road.upstream, road.loop)


def test_a_declared_length_is_checked_before_anything_comes() -> None:
    async def go() -> None:
        message = Road(POST).exchange.message
        check_declared(message, 5)
        with pytest.raises(BodyTooLarge):
            check_declared(message, 4)
        check_declared(Road(PUT).exchange.message, 0)  # it says none

    run(go)


def test_a_whole_body_is_read_within_its_limit() -> None:
    async def go() -> None:
        assert await read_whole(Road(PUT + b"5\r\nhello\r\n0\r\n\r\n").exchange.payload, 5, 20) == b"hello"
        with pytest.raises(BodyTooLarge):  # though it has not ended
            await read_whole(Road(PUT + b"5\r\nhello\r\n").exchange.payload, 4, 20)

    run(go)


def test_a_body_that_does_not_come_in_time_is_refused() -> None:
    async def go() -> None:
        with pytest.raises(Refused) as caught:
            await read_whole(Road(POST).exchange.payload, 5, 0.01)
        assert caught.value.reason is Reason.REQUEST_TIMEOUT

    run(go)


@pytest.mark.parametrize("head", [POST.replace(b"5", b"99"), PUT + b"5\r\n"])
def test_a_body_whose_rest_will_not_come_is_let_go_at_once(head: bytes) -> None:
    """Not at the next garbage collection: thousands of clients may leave at a time."""

    async def go() -> None:
        payload = Road(head + b"hel").exchange.payload
        reading = asyncio.get_running_loop().create_task(read_whole(payload, 100, 20))
        await asyncio.sleep(0)
        payload.set_exception(RequestBroken())
        with pytest.raises(RequestBroken):
            await reading
        exception = payload.exception()
        assert exception is not None
        assert exception.__traceback__ is None

    run(go)


def test_no_data_is_no_chunk() -> None:
    """It would be the last one."""
    assert (chunk(b""), chunk(b"hello")) == (b"", b"5\r\nhello\r\n")


def test_a_rest_is_small_only_when_it_is_known_to_be() -> None:
    async def go() -> None:
        def small(request: bytes, *, expects_continue: bool = False) -> bool:
            exchange = Road(request).exchange
            return rest_is_small(exchange.message, exchange.payload, expects_continue=expects_continue)

        assert small(POST)
        assert not small(POST, expects_continue=True)
        assert not small(PUT)
        assert not small(POST.replace(b": 5", b": 65537"))
        broken = Road(POST).exchange
        broken.payload.set_exception(ValueError())
        assert not rest_is_small(broken.message, broken.payload, expects_continue=False)

    run(go)


def test_a_body_goes_on_as_it_comes() -> None:
    async def go() -> None:
        sending = Sending(Road(POST))
        road = sending.road
        road.come(b"he")
        await eventually(lambda: road.upstream.written == b"he")
        assert (sending.sender.sending, sending.sender.sent) == (True, False)
        road.come(b"llo")
        await eventually(lambda: sending.sender.sent)
        assert (road.upstream.written, sending.broken, road.upstream.fate) == (b"hello", [], [])

    run(go)


def test_a_chunked_body_ends_with_its_trailers() -> None:
    async def go() -> None:
        sending = Sending(Road(PUT + b"5\r\nhello\r\n0\r\n\r\n"))
        await eventually(lambda: sending.sender.sent)
        assert sending.road.upstream.written == b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n"

    run(go)


def test_an_upstream_that_takes_no_more_is_waited_for() -> None:
    async def go() -> None:
        road = Road(POST)
        road.upstream.takes.clear()
        sending = Sending(road)
        road.come(b"he")
        await eventually(lambda: road.upstream.written == b"he")
        road.come(b"llo")
        for _ in range(5):
            await asyncio.sleep(0)
        assert road.upstream.written == b"he"
        road.upstream.takes.set()
        await eventually(lambda: sending.sender.sent)
        assert road.upstream.written == b"hello"

    run(go)


@pytest.mark.parametrize(("limit", "reason"), [(4, Reason.BODY_TOO_LARGE), (None, Reason.MALFORMED_REQUEST)])
def test_a_body_whose_rest_will_not_come_is_given_up(limit: int | None, reason: Reason) -> None:
    async def go() -> None:
        sending = Sending(Road(PUT), limit)
        if limit is None:
            sending.road.exchange.payload.set_exception(ValueError())
        else:
            sending.road.come(b"5\r\nhello\r\n")
        await eventually(lambda: sending.sender.sent)
        assert (sending.broken, sending.road.upstream.fate) == ([reason], ["abort"])
        assert sending.road.upstream.written == b""

    run(go)


def test_a_body_that_nobody_wants_is_sent_no_further() -> None:
    async def go() -> None:
        sending = Sending(Road(POST))
        sending.sender.stop()
        await eventually(lambda: sending.sender.sent)
        sending.sender.stop()
        assert (sending.broken, sending.road.upstream.fate) == ([], [])

    run(go)
