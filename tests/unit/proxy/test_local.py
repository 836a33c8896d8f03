"""proxy.local: requests for our own endpoints."""

import asyncio
from collections.abc import Awaitable

import pytest

from sidecar.core.events import Decision
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.proxy.request import BodyTooLarge, RequestBroken
from tests.support.decided import Connection, Noted, World, rules


def ask(*lines: str, method: str = "POST", body: bytes = b"a=b", query: str = "") -> bytes:
    fields = [f"{method} /oauth/token{query} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(fields).encode() + body


async def test_an_endpoint_gets_the_whole_request() -> None:
    noted = await World(rules()).finish(ask(query="?x=1"), Connection("10.1.1.1"))
    assert noted.reply == Reply(200, (), b"POST x=1 10.1.1.1 b'a=b'")
    assert (noted.decision, noted.endpoint) == (Decision.LOCAL, "token")


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (Refused(Reason.REQUEST_TIMEOUT), Reason.REQUEST_TIMEOUT),
        (BodyTooLarge(), Reason.BODY_TOO_LARGE),
        (RequestBroken(), Reason.MALFORMED_REQUEST),
        (ZeroDivisionError(), Reason.INTERNAL),
    ],
)
async def test_what_goes_wrong_is_answered(raised: Exception, reason: Reason) -> None:
    async def work(request: EndpointRequest) -> Reply:
        raise raised

    world = World(rules(endpoints={"/oauth/token": work}))
    noted = await world.finish(ask())
    assert noted.reason is reason
    assert bool(world.failures) is (reason is Reason.INTERNAL)


async def test_a_page_may_read_what_is_shared_with_its_origin() -> None:
    noted = await World(rules()).finish(ask("Origin: https://page.example"))
    assert ("Access-Control-Allow-Origin", "https://page.example") in noted.shared
    other = await World(rules()).finish(ask("Origin: https://evil.example"))
    assert not [field for field in other.shared if field[0] == "Access-Control-Allow-Origin"]


async def test_a_preflight_never_reaches_the_endpoint() -> None:
    lines = ("Origin: https://page.example", "Access-Control-Request-Method: POST")
    noted = await World(rules()).finish(ask(*lines, method="OPTIONS", body=b""))
    assert noted.reply is not None
    assert (noted.reply.status, noted.task) == (204, None)


async def late(request: EndpointRequest) -> Reply:
    """An endpoint that has to wait for something."""
    await asyncio.sleep(0)
    return Reply(201, (), request.body)


class Prompt:
    """An endpoint that answers at once; a body of `later` takes it some time, and one of `bad` is its defect."""

    async def __call__(self, request: EndpointRequest) -> Reply:
        raise AssertionError("begin is asked")

    def begin(self, request: EndpointRequest) -> Reply | Awaitable[Reply]:
        if request.body == b"bad":
            raise ZeroDivisionError
        return late(request) if request.body == b"later" else Reply(200, (), request.body)


async def test_what_is_at_hand_is_answered_without_a_task() -> None:
    world = World(rules(endpoints={"/oauth/token": Prompt()}))
    noted = world.handle(ask())
    assert (noted.reply, noted.task) == (Reply(200, (), b"a=b"), None)
    noted = world.handle(ask(body=b"later"))
    assert noted.reply is None
    await noted.task
    assert noted.reply == Reply(201, (), b"later")
    noted = world.handle(ask(body=b"bad"))
    assert (noted.reason, len(world.failures)) == (Reason.INTERNAL, 1)


async def test_a_body_beyond_the_limit_is_refused_before_the_endpoint_is_asked() -> None:
    world = World(rules(endpoints={"/oauth/token": Prompt()}))
    assert world.handle(ask(body=b"x" * 65536)).reply == Reply(200, (), b"x" * 65536)
    assert world.handle(ask(body=b"x" * 65537)).reason is Reason.BODY_TOO_LARGE


async def test_a_body_that_is_still_on_its_way_is_waited_for_and_then_answered_likewise() -> None:
    world = World(rules(endpoints={"/oauth/token": Prompt()}))
    for body, status in ((b"a=b", 200), (b"later", 201), (b"bad", 500)):
        noted = Noted(ask(body=body))
        noted.waiting = True
        world.handler.handle(noted)  # type: ignore[arg-type]  # it has all that is asked of an exchange
        assert noted.reply is None
        await noted.task
        assert noted.reply is not None
        assert noted.reply.status == status
