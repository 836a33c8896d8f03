"""proxy.local: requests for our own endpoints."""

import pytest

from sidecar.core.events import Decision
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.proxy.request import BodyTooLarge, RequestBroken
from tests.support.decided import Connection, World, rules


def ask(*lines: str, method: str = "POST", body: bytes = b"a=b", query: str = "") -> bytes:
    fields = [f"{method} /oauth/token{query} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(fields).encode() + body


async def test_an_endpoint_gets_the_whole_request() -> None:
    noted = await World(rules()).finish(ask(query="?x=1"), Connection("10.1.1.1"))
    assert noted.reply == Reply(200, (), b"POST x=1 10.1.1.1 b'a=b'")
    assert noted.decision is Decision.LOCAL


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
