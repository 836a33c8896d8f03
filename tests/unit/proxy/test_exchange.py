"""A request on its way to the upstream and back: what is sent, what the client gets, and how it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sidecar.core.causes import Cause, Fault
from sidecar.core.reasons import Reason
from sidecar.proxy.answering import Outcome
from sidecar.proxy.request import RequestBroken
from tests.support.exchanges import Road, head
from tests.support.waiting import eventually

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = (200, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", b"ok")
LENGTH = {b"Content-Length": b"4"}


class Tallied:
    """What was told of requests that the API answered completely."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def count_whole(self, *what: object) -> None:
        self.told.append(what)

    def count_streamed(self, *what: object) -> None:
        self.told.append(what)


def run(go: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(go(), 20)

    asyncio.run(bounded())


async def the_end_of(road: Road, outcome: Outcome) -> None:
    """It ends once, and in this way."""
    await eventually(lambda: road.exchange.ended)
    assert road.exchange.outcome is outcome
    assert road.client.ended == [road.exchange]
    assert len(road.reports) == 1


def asked_to_switch() -> Road:
    """A request that was sent on and may become a tunnel."""
    road = Road(GET)
    road.exchange.upgrade = b"chat"
    road.switching.add(road.exchange)
    road.forward()
    return road


def test_a_whole_answer_goes_on_as_it_is() -> None:
    async def go() -> None:
        road = Road(GET)
        road.forward()
        assert (road.sent, road.exchange.resendable) == ([b"HEAD "], True)
        road.exchange.on_whole(WHOLE, 101.0)
        assert road.client.written == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        await the_end_of(road, Outcome.WHOLE)
        assert road.reports[0].status == 200
        assert road.exchange.keep_alive
        road.exchange.client_paused()
        assert road.upstream.fate == []  # that connection is another's by now

    run(go)


@pytest.mark.parametrize(
    ("request_", "draining", "line", "kept"),
    [
        (GET, False, b"", True),
        (GET, True, b"Connection: close\r\n", False),
        (OLD, False, b"Connection: close\r\n", False),
        (OLD.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), False, b"Connection: keep-alive\r\n", True),
        (GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False, b"Connection: close\r\n", False),
    ],
)
def test_the_client_is_told_whether_its_connection_stays(
    request_: bytes, draining: bool, line: bytes, kept: bool
) -> None:
    async def go() -> None:
        for streamed in (False, True):
            road = Road(request_)
            road.client.manager.draining = draining
            road.forward()
            if streamed:
                road.answer(200, LENGTH, b"four")
                road.exchange.on_complete(101.0)
            else:
                road.exchange.on_whole(WHOLE, 101.0)
            lines = road.client.written.partition(b"\r\n\r\n")[0] + b"\r\n"
            assert (b"Connection: " in lines, line in lines) == (bool(line), True)
            assert road.exchange.keep_alive is kept

    run(go)


def test_a_streamed_answer_is_written_as_it_comes() -> None:
    async def go() -> None:
        road = Road(GET)
        road.forward()
        assert not road.exchange.answer_begun
        road.answer(200, LENGTH, b"fo")
        assert road.client.written.endswith(b"\r\n\r\nfo")
        assert (road.exchange.answer_begun, road.exchange.streaming, road.exchange.ended) == (True, True, False)
        road.exchange.on_body(b"ur")
        road.exchange.on_complete(103.0)
        assert road.client.written.endswith(b"\r\n\r\nfour")
        await the_end_of(road, Outcome.STREAMED)

    run(go)


def test_a_tally_is_told_instead_of_a_report_when_nothing_was_refused() -> None:
    async def go() -> None:
        tally = Tallied()
        told = tally.told
        road = Road(GET, tally=tally)
        road.forward()
        road.now = 103.0
        road.exchange.on_whole(WHOLE, 103.0)
        assert (road.reports, told) == ([], [(road.exchange.decision, 200, 3.0, 3.0)])
        other = Road(GET, tally=tally)
        other.exchange.refuse(Reason.DENIED_BY_ROUTE)
        assert (len(other.reports), len(told)) == (1, 1)

    run(go)


def test_a_body_that_is_here_goes_with_the_head() -> None:
    async def go() -> None:
        road = Road(POST + b"hello")
        road.forward()
        assert (road.sent, road.exchange.sending, road.exchange.resendable) == ([b"HEAD hello"], False, False)
        chunked = Road(PUT + b"5\r\nhello\r\n0\r\n\r\n")
        chunked.forward()
        assert chunked.sent == [b"HEAD 5\r\nhello\r\n0\r\n\r\n"]
        read = Road(POST)
        read.forward(b"other")
        assert read.sent == [b"HEAD other"]

    run(go)


def test_a_body_that_comes_later_is_streamed() -> None:
    async def go() -> None:
        road = Road(PUT + b"2\r\nhe\r\n")
        road.forward()
        assert (road.sent, road.exchange.sending, road.exchange.may_reuse()) == ([b"HEAD "], True, False)
        road.come(b"3\r\nllo\r\n0\r\n\r\n")
        await eventually(lambda: not road.exchange.sending)
        assert road.upstream.written.endswith(b"0\r\n\r\n")
        assert road.exchange.may_reuse()
        assert not road.exchange.resendable

    run(go)


def test_a_connection_that_was_asked_to_switch_carries_nothing_else() -> None:
    async def go() -> None:
        road = asked_to_switch()
        assert (road.exchange.awaits_switch, road.exchange.may_reuse()) == (True, False)
        road.client.spoke_early = True
        assert not road.exchange.awaits_switch
        road.exchange.on_whole(WHOLE, 101.0)
        assert road.switching == set()

    run(go)


@pytest.mark.parametrize("request_", [POST + b"hello", POST, PUT + b"5\r\nhello\r\n0\r\n\r\n"])
def test_a_body_beyond_the_limit_is_not_sent(request_: bytes) -> None:
    async def go() -> None:
        road = Road(request_, body_limit=4)
        road.forward()
        assert road.sent == []
        assert b" 413 " in road.client.written
        await the_end_of(road, Outcome.ANSWERED)

    run(go)


@pytest.mark.parametrize(
    ("limit", "data", "status"), [(4, b"5\r\nhello\r\n", b" 413 "), (None, b"zz\r\n", b" 400 ")], ids=["long", "broken"]
)
def test_a_body_that_goes_wrong_on_its_way_is_given_up(limit: int | None, data: bytes, status: bytes) -> None:
    """The upstream must not take a part of it for the whole."""

    async def go() -> None:
        road = Road(PUT, body_limit=limit)
        road.forward()
        try:
            road.come(data)
        except Exception:  # noqa: BLE001  the parser says so to the connection too
            road.exchange.payload.set_exception(ValueError())
        await the_end_of(road, Outcome.GIVEN_UP)
        assert "abort" in road.upstream.fate
        assert status in road.client.written
        assert b"0\r\n\r\n" not in road.upstream.written

    run(go)


def test_a_failure_before_the_answer_is_answered_by_us() -> None:
    async def go() -> None:
        road = Road(GET)
        road.forward()
        road.exchange.on_head(200, b"OK", head(LENGTH))  # only collected
        road.exchange.on_failure(Fault(Cause.CUT_SHORT))
        assert road.client.written.startswith(b"HTTP/1.1 502 ")
        assert b" 200 " not in road.client.written
        road.exchange.flush()
        assert road.client.written.count(b"HTTP/1.1 ") == 1
        await the_end_of(road, Outcome.GIVEN_UP)
        assert (road.upstream.fate, road.reports[0].fault.cause) == (["abort"], Cause.CUT_SHORT)

    run(go)


@pytest.mark.parametrize(("request_", "fate"), [(GET, "abort"), (OLD, "reset")])
def test_a_failure_within_the_answer_cuts_the_connection(request_: bytes, fate: str) -> None:
    """So that a truncated answer is seen to be one; with a reset where the end of the connection is the end of the body."""

    async def go() -> None:
        road = Road(request_)
        road.forward()
        road.answer(200, {}, b"part")
        road.exchange.on_failure(Fault(Cause.CUT_SHORT))
        assert road.client.fate == [fate]
        assert not road.client.written.endswith(b"0\r\n\r\n")
        await the_end_of(road, Outcome.ABORTED)

    run(go)


def test_a_client_that_leaves_ends_its_request_and_nothing_is_written() -> None:
    async def go() -> None:
        road = Road(PUT)
        road.forward()
        road.exchange.client_left()
        await the_end_of(road, Outcome.CLIENT_LEFT)
        assert (road.reports[0].status, road.upstream.fate[0], road.client.written) == (499, "abort", b"")
        assert not road.exchange.wanted
        await eventually(lambda: not road.exchange.sending)
        road.exchange.refuse(Reason.INTERNAL)  # what an endpoint of ours still says
        road.exchange.client_left()
        await the_end_of(road, Outcome.CLIENT_LEFT)

    run(go)


def test_a_client_that_takes_no_more_holds_the_upstream_back() -> None:
    async def go() -> None:
        road = Road(GET)
        road.client.writing_paused = True
        road.forward()
        road.exchange.client_resumed()
        road.exchange.client_paused()
        assert road.upstream.fate == ["pause", "resume", "pause"]

    run(go)


@pytest.mark.parametrize("begun", [False, True])
def test_a_token_that_ends_ends_what_flows(begun: bool) -> None:
    async def go() -> None:
        road = Road(GET)
        road.forward()
        if begun:
            road.answer(200, LENGTH, b"fo")
        road.exchange.end_early(Reason.EXPIRED)
        road.exchange.end_early(Reason.EXPIRED)
        await the_end_of(road, Outcome.ABORTED if begun else Outcome.GIVEN_UP)
        assert road.reports[0].reason is Reason.EXPIRED
        assert (b" 401 " in road.client.written) is not begun
        assert not road.exchange.keep_alive
        assert road.upstream.fate == ["abort"]

    run(go)


@pytest.mark.parametrize(
    ("method", "resendable"),
    [
        *((method, True) for method in ("GET", "HEAD", "OPTIONS", "TRACE")),
        *((method, False) for method in ("POST", "PUT", "PATCH", "DELETE", "LOCK")),
    ],
)
def test_only_a_safe_method_without_a_body_is_sent_again(method: str, resendable: bool) -> None:
    """RFC 9110 section 9.2.2: another one could be done twice."""

    async def go() -> None:
        road = Road(GET.replace(b"GET", method.encode()))
        road.forward()
        assert road.exchange.resendable is resendable

    run(go)


@pytest.mark.parametrize("until_close", [False, True])
def test_a_refusal_within_an_answer_cuts_the_connection(until_close: bool) -> None:
    """Another answer could be taken for a part of the one that has begun."""

    async def go() -> None:
        road = Road(OLD if until_close else GET)
        road.forward()
        road.answer(200, {} if until_close else LENGTH, b"fo")
        written = road.client.written
        road.exchange.refuse(Reason.INTERNAL)
        assert road.client.written == written
        assert road.client.fate == ["reset" if until_close else "abort"]
        await the_end_of(road, Outcome.ABORTED)
        assert (road.reports[0].reason, road.upstream.fate) == (Reason.INTERNAL, ["abort"])

    run(go)


def test_a_switch_becomes_a_tunnel_and_ends_with_it() -> None:
    async def go() -> None:
        road = asked_to_switch()
        fields = head({b"Connection": b"upgrade", b"Upgrade": b"chat"})
        tunnel: Any = road.exchange.on_switch(road.upstream, b"Switching Protocols", fields)
        assert road.client.written.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert road.client.written.endswith(b"Connection: Upgrade\r\nUpgrade: chat\r\n\r\n")
        assert (road.tunnels, road.client.tunnel, road.switching) == ({tunnel}, tunnel, {road.exchange})
        tunnel.finish()
        await the_end_of(road, Outcome.TUNNEL)
        assert (road.tunnels, road.switching, road.reports[0].status) == (set(), set(), 101)

    run(go)


@pytest.mark.parametrize(("expects", "written"), [(True, True), (False, False)])
def test_100_goes_to_a_client_that_waits_for_it(expects: bool, written: bool) -> None:
    async def go() -> None:
        road = Road(PUT)
        road.exchange.expects_continue = expects
        road.forward()
        for _ in range(2):
            road.exchange.on_informational(100, b"Continue", head({}))
            road.exchange.flush()
        assert (road.client.written == b"HTTP/1.1 100 Continue\r\n\r\n") is written
        assert not road.exchange.answer_begun
        road.exchange.client_left()
        await eventually(lambda: not road.exchange.sending)

    run(go)


# Small bodies of requests that needed no parser.

SMALL = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


async def test_a_small_body_is_sent_with_its_head_in_one_write() -> None:
    whole = Road(SMALL + b"hello", plain=True)
    whole.forward()
    assert whole.sent == [b"HEAD hello"]
    late = Road(SMALL + b"he", plain=True)
    late.forward()
    assert (late.sent, late.exchange.streaming) == ([], True)
    late.now = 103.0
    late.body.feed(b"llo")
    assert (late.sent, late.exchange.streaming, late.exchange.sent_at) == ([b"HEAD hello"], False, 103.0)
    assert not late.exchange.resendable
    assert late.exchange.may_reuse()


async def test_a_small_body_that_breaks_is_never_sent() -> None:
    road = Road(SMALL + b"he", plain=True)
    road.forward()
    road.body.set_exception(RequestBroken())
    assert (road.sent, road.exchange.reason) == ([], Reason.MALFORMED_REQUEST)
    assert road.client.written.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("how", ["client left", "cancelled", "token ended"])
async def test_a_request_that_ended_while_its_small_body_came_is_never_sent(how: str) -> None:
    road = Road(SMALL + b"he", plain=True)
    road.forward()
    if how == "client left":
        road.exchange.client_left()
    elif how == "cancelled":
        road.exchange.cancel(Reason.REQUEST_TIMEOUT)
    else:
        road.exchange.end_early(Reason.REVOKED)
    road.body.feed(b"llo")
    assert (road.sent, len(road.client.ended)) == ([], 1)


async def test_a_small_body_has_the_limit_of_every_body() -> None:
    road = Road(SMALL, plain=True, body_limit=4)
    road.forward()
    assert (road.sent, road.exchange.reason) == ([], Reason.BODY_TOO_LARGE)


# What the metrics are told about durations.


def test_a_whole_answer_came_with_its_first_byte() -> None:
    async def go() -> None:
        road = Road(GET)
        road.forward()
        road.exchange.on_whole(WHOLE, 100.5)
        (done,) = road.reports
        assert (done.upstream_seconds, done.first_byte_seconds, done.stream) == (0.5, 0.5, None)

    run(go)


@pytest.mark.parametrize(
    ("fields", "lasts", "stream"),
    [
        (LENGTH, 9.0, None),
        (LENGTH, 11.0, "stream"),
        ({b"Content-Type": b"text/event-stream"}, 1.0, "stream"),
        ({b"Content-Type": b"text/html"}, 1.0, None),
    ],
)
def test_a_response_that_flows_for_long_is_a_stream(
    fields: dict[bytes, bytes], lasts: float, stream: str | None
) -> None:
    """However long the upstream took to begin it."""

    async def go() -> None:
        road = Road(GET)
        road.forward()
        road.now = 130.0
        assert not road.exchange.flows_long(road.now)
        road.answer(200, fields, b"four")
        road.now += lasts
        assert road.exchange.flows_long(road.now) == (stream is not None)
        road.exchange.on_complete(road.now)
        assert not road.exchange.flows_long(road.now + 100)
        (done,) = road.reports
        assert (done.first_byte_seconds, done.upstream_seconds, done.stream) == (30.0, 30.0 + lasts, stream)

    run(go)


@pytest.mark.parametrize(("lasts", "stream"), [(9.0, None), (11.0, "stream")])
def test_an_upload_is_the_clients_time_and_not_the_apis(lasts: float, stream: str | None) -> None:
    """A long one is a stream, even if the answer comes in one piece."""

    async def go() -> None:
        tally = Tallied()
        road = Road(PUT, tally=tally)
        road.forward()
        await eventually(lambda: road.exchange.sending)
        road.now += lasts
        assert road.exchange.flows_long(road.now) == (stream is not None)
        road.come(b"5\r\nhello\r\n0\r\n\r\n")
        await eventually(lambda: not road.exchange.sending)
        road.exchange.on_whole(WHOLE, road.now + 0.5)
        (_, _, seconds, *rest) = tally.told[0]
        assert (seconds, rest) == (lasts + 0.5, [0.5] if stream is None else [0.5, 0.5, stream])

    run(go)


def test_an_answer_that_precedes_the_end_of_the_upload_counts_from_the_head() -> None:
    async def go() -> None:
        road = Road(PUT)
        road.forward()
        await eventually(lambda: road.exchange.sending)
        road.now += 2
        road.answer(200, {b"Content-Length": b"0"})
        road.now += 2
        road.come(b"5\r\nhello\r\n0\r\n\r\n")
        await eventually(lambda: not road.exchange.sending)
        road.exchange.on_complete(road.now)
        (done,) = road.reports
        assert (done.first_byte_seconds, done.upstream_seconds) == (2.0, 4.0)

    run(go)


@pytest.mark.parametrize("cause", [Cause.ALL_CONNECTIONS_BUSY, Cause.NO_SOCKETS, Cause.NO_ANSWER, Cause.REFUSED])
def test_what_the_sidecar_failed_is_no_time_of_the_api(cause: Cause) -> None:
    """A refusal at once would make the API look fast."""

    async def go() -> None:
        road = Road(GET)
        road.forward()
        road.now += 1
        road.exchange.on_failure(Fault(cause))
        (done,) = road.reports
        assert done.upstream_seconds == (None if cause.reason is Reason.OVERLOADED else 1.0)
        assert done.first_byte_seconds is None

    run(go)
