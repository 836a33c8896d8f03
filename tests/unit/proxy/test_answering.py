"""A request gets one answer, and ends once."""

import asyncio

import pytest

from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import Reply
from sidecar.proxy.answering import Outcome
from sidecar.proxy.request import BodyTooLarge
from tests.support.exchanges import Road

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


def test_only_the_first_answer_is_given() -> None:
    async def go() -> None:
        road = Road(GET)
        road.exchange.respond(Reply(200, (), b"one"))
        road.exchange.respond(Reply(200, (), b"two"))
        road.exchange.refuse(Reason.INTERNAL)
        assert road.client.written.endswith(b"\r\n\r\none")
        assert road.client.written.count(b"HTTP/1.1 ") == 1
        assert (len(road.reports), road.client.ended) == (1, [road.exchange])
        assert road.exchange.outcome is Outcome.ANSWERED
        assert repr(road.exchange).startswith("<Exchange GET ")

    asyncio.run(go())


def test_the_answer_to_head_has_no_body() -> None:
    async def go() -> None:
        road = Road(GET.replace(b"GET", b"HEAD"))
        road.exchange.respond(Reply(200, (), b"four"))
        assert b"Content-Length: 4\r\n" in road.client.written
        assert road.client.written.endswith(b"\r\n\r\n")

    asyncio.run(go())


def test_every_answer_of_ours_carries_what_a_page_may_read() -> None:
    async def go() -> None:
        road = Road(GET)
        road.exchange.shared = (("Access-Control-Allow-Origin", "https://page.example"),)
        road.exchange.refuse(Reason.MISSING_TOKEN)
        assert b"Access-Control-Allow-Origin: https://page.example\r\n" in road.client.written

    asyncio.run(go())


@pytest.mark.parametrize(
    ("reason", "kept"),
    [(Reason.MALFORMED_REQUEST, False), (Reason.BODY_TOO_LARGE, False), (Reason.MISSING_TOKEN, True)],
)
def test_a_refusal_closes_where_what_follows_cannot_be_read(reason: Reason, kept: bool) -> None:
    async def go() -> None:
        road = Road(GET)
        road.exchange.refuse(reason)
        assert road.exchange.keep_alive is kept
        assert (b"Connection: close\r\n" in road.client.written) is not kept
        assert (road.reports[0].reason, road.reports[0].status) == (reason, reason.status)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("length", "expects", "kept"), [(10, False, True), (65536, False, True), (65537, False, False), (10, True, False)]
)
def test_the_rest_of_a_request_is_waited_for_when_it_is_small_and_sure_to_come(
    length: int, expects: bool, kept: bool
) -> None:
    async def go() -> None:
        road = Road(POST % length)
        road.exchange.expects_continue = expects
        road.exchange.refuse(Reason.MISSING_TOKEN)
        assert road.exchange.keep_alive is kept

    asyncio.run(go())


def test_a_body_of_ours_is_read_when_it_comes() -> None:
    async def go() -> None:
        road = Road(POST % 5)
        road.exchange.expects_continue = True
        road.exchange.await_body()
        assert road.exchange.waiting
        reading = asyncio.get_running_loop().create_task(road.exchange.read_body(5))
        await asyncio.sleep(0)
        assert road.client.written == b"HTTP/1.1 100 Continue\r\n\r\n"
        road.come(b"hel")
        await asyncio.sleep(0)
        road.come(b"lo")
        assert await asyncio.wait_for(reading, 20) == b"hello"
        assert not road.exchange.waiting

    asyncio.run(go())


def test_a_body_that_is_announced_too_large_is_not_waited_for() -> None:
    async def go() -> None:
        road = Road(POST % 6)
        with pytest.raises(BodyTooLarge):
            await road.exchange.read_body(5)

    asyncio.run(go())


def test_where_too_many_wait_no_other_does() -> None:
    async def go() -> None:
        road = Road(POST % 5)
        road.client.manager.crowded = True
        with pytest.raises(Refused):
            road.exchange.await_body()
        here = Road(POST % 5 + b"hello")
        here.client.manager.crowded = True
        here.exchange.await_body()  # nothing has to be waited for
        assert await here.exchange.read_body(5) == b"hello"

    asyncio.run(go())
