"""proxy.client.timed: slow clients lose their connection, in each state by its own limit. tests/unit/proxy/client/test_deadlines.py
has the rules; the limits here are 10 s."""

from typing import Final

import pytest

from sidecar.core.reasons import Reason
from sidecar.core.replies import refusal
from sidecar.proxy.client.connection import ClientConnection
from sidecar.proxy.client.states import State
from tests.support.clients import Clients, connect, know
from tests.support.transport import Pipe

GET: Final = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST: Final = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"


def posting(*, plain: bool) -> tuple[Clients, ClientConnection, Pipe]:
    """A client that has sent a head, and the beginning of its body."""
    clients = Clients()
    if plain:
        know(clients, b"Host", b"Content-Length")
    return clients, *connect(clients, POST + b"12")


async def test_a_client_that_sends_nothing_is_left_and_one_with_half_a_head_is_told() -> None:
    clients = Clients()
    _, idle = connect(clients)
    _, half = connect(clients, GET[:5])
    clients.connections.check(110.0)
    assert (idle.fate, half.written) == ([], b"")
    clients.connections.check(110.1)
    assert idle.fate == ["closed"]
    assert half.written.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("plain", [True, False])
async def test_a_connection_may_be_idle_after_a_request(plain: bool) -> None:
    clients = Clients()
    if plain:
        know(clients, b"Host")
    connection, pipe = connect(clients, GET)
    clients.now = 109.0
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), clients.now)
    assert connection.reader._parsing is not plain
    clients.connections.check(119.0)
    assert pipe.fate == []
    clients.connections.check(119.1)
    assert pipe.fate == ["closed"]


@pytest.mark.parametrize("plain", [True, False])
async def test_a_body_that_stalls_is_given_up(plain: bool) -> None:
    clients, connection, _ = posting(plain=plain)
    (request,) = clients.handler.requests
    cancelled: list[Reason] = []
    request.cancel = cancelled.append  # type: ignore[attr-defined]
    clients.now = 105.0
    connection.data_received(b"3")
    clients.connections.check(115.0)
    assert cancelled == []
    clients.connections.check(115.1)
    assert cancelled == [Reason.REQUEST_TIMEOUT]
    assert connection.reader._parsing is not plain


@pytest.mark.parametrize("plain", [True, False])
async def test_the_rest_of_an_unneeded_body_is_awaited_for_a_while(plain: bool) -> None:
    clients, connection, pipe = posting(plain=plain)
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), clients.now)
    assert connection.state is State.EMPTYING
    clients.connections.check(110.0)
    assert connection.state is State.EMPTYING
    clients.connections.check(110.1)
    assert (connection.state, pipe.fate) == (State.LINGERING, ["eof"])


async def test_what_was_read_from_the_last_head_is_forgotten_by_an_idle_connection() -> None:
    clients = Clients()
    know(clients, b"Host")
    connection, _ = connect(clients, GET)
    clients.connections.check(106.0)
    assert connection.section is not None  # its request is not over
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), 106.0)
    clients.connections.check(111.0)
    assert connection.section is not None
    clients.connections.check(111.1)
    assert connection.section is None
    connection.data_received(GET)
    assert len(clients.handler.requests) == 2
