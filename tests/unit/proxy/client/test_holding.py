"""proxy.client.holding: what a connection holds is known at each step, and is given up in each state. proxy.memory decides by
whom; here one client is refused, the one that there is."""

import asyncio
from typing import Any, Final

import pytest

from sidecar.core.reasons import Reason
from sidecar.core.replies import refusal
from sidecar.proxy.client.connection import ClientConnection
from sidecar.proxy.client.states import State
from tests.support.clients import Clients, connect, know

GET: Final = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST: Final = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"
HALF: Final = b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2000
TIGHT: Final = 4096  # bytes; a connection costs 1024 here


def held(clients: Clients) -> int:
    """The bytes that are held besides the price of the connections."""
    memory = clients.connections.memory
    return memory.held - memory.each * clients.connections.present


async def test_a_plain_request_is_not_even_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients()
    know(clients, b"Host")
    calls: list[ClientConnection] = []
    monkeypatch.setattr(ClientConnection, "weigh", calls.append)
    connection, _ = connect(clients)
    connection.data_received(GET)
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert (calls, held(clients)) == ([], 0)


async def test_a_head_counts_until_it_is_whole_and_its_request_answered() -> None:
    clients = Clients()
    connection, _ = connect(clients, HALF)
    assert held(clients) == connection.held > 4000
    connection.data_received(b"\r\n\r\n")
    assert held(clients) > 6000, "the head of a request that is not answered"
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert held(clients) == 0


@pytest.mark.parametrize("plain", [True, False])
async def test_a_body_counts_as_it_comes(plain: bool) -> None:
    clients = Clients()
    if plain:
        know(clients, b"Host", b"Content-Length")
    connection, _ = connect(clients, POST + b"a" * 3000)
    before = held(clients)
    assert before > 3000
    connection.data_received(b"a" * 5000)
    assert held(clients) == before + 5000
    connection.data_received(b"a" * 1000)
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert held(clients) == 0


async def test_a_body_that_flows_counts_as_far_as_it_waits() -> None:
    clients = Clients()
    connect(clients, POST + b"a" * 3000)
    (request,) = clients.handler.requests
    before = held(clients)
    request.verified = object()
    assert request.payload.read_nowait() == b"a" * 3000
    clients.connections.check(clients.now)
    assert held(clients) == before - 3000


async def test_requests_that_wait_count() -> None:
    clients = Clients()
    connect(clients, GET * 20)
    assert held(clients) > 20 * 1000
    for _ in range(20):
        clients.handler.requests[-1].answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert held(clients) == 0


async def test_what_the_client_does_not_read_counts_at_once_and_once_a_second() -> None:
    clients = Clients()
    connection, pipe = connect(clients)
    pipe.unsent = 100
    clients.connections.check(clients.now)
    assert held(clients) == 100
    pipe.unsent = 90_000
    connection.pause_writing()
    await asyncio.sleep(0)
    assert held(clients) == 90_000
    pipe.unsent = 0
    connection.resume_writing()
    assert held(clients) == 0


async def test_over_tls_what_uvloop_keeps_counts_too() -> None:
    clients = Clients()
    connection, pipe = connect(clients, POST + b"a" * 3000, secure=True)
    assert pipe.high_water == 64 * 1024
    assert held(clients) < 9000
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), 0.0)
    connection.data_received(b"a" * 6000)
    assert held(clients) == 0
    connection.data_received(GET * 5000)
    assert held(clients) > 2 * 1024 * len(GET)
    connection.connection_lost(None)
    assert clients.connections.memory.held == 0


async def test_a_large_plain_head_counts_and_is_not_remembered_for_a_stranger() -> None:
    clients = Clients()
    know(clients, b"Host", b"X")
    connection, _ = connect(clients, HALF + b"a" * 1000 + b"\r\n\r\n")
    assert connection.held > 3000
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert held(clients) == 0
    answered: Any = lambda exchange: exchange.answer(refusal(Reason.MISSING_TOKEN), 0.0)  # noqa: E731
    clients.handler.handle = answered  # type: ignore[method-assign]
    connection.data_received(HALF + b"a" * 1000 + b"\r\n\r\n")
    assert connection.section is None


async def test_a_large_head_of_an_admitted_request_counts_once_a_second() -> None:
    """It must not cost the request anything."""
    clients = Clients()
    know(clients, b"Host", b"X")
    handle = clients.handler.handle

    def admit(exchange: Any) -> None:
        exchange.verified = object()
        handle(exchange)

    clients.handler.handle = admit  # type: ignore[method-assign]
    connection, _ = connect(clients, HALF + b"a" * 1000 + b"\r\n\r\n")
    assert (held(clients), connection.section is not None) == (0, True)
    clients.connections.check(clients.now)
    assert held(clients) > 3000
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert held(clients) == 0


async def test_a_large_response_over_tls_is_encrypted_in_parts() -> None:
    clients = Clients()
    connection, pipe = connect(clients, secure=True)
    data = bytes(range(256)) * 1000
    connection.write(data)
    assert pipe.written == data
    assert pipe.largest == 64 * 1024
    clients.connections.check(clients.now)
    assert held(clients) == 48 * 1024


# Giving up.


async def test_an_unfinished_head_is_refused() -> None:
    clients = Clients(memory=TIGHT)
    _, pipe = connect(clients, HALF)
    assert pipe.written.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in pipe.written
    assert pipe.fate == ["eof"]
    assert held(clients) == 0
    assert [report.reason for report in clients.reports] == [Reason.OVERLOADED]


async def test_a_request_in_progress_ends_early() -> None:
    clients = Clients(memory=TIGHT)
    connect(clients, POST + b"a" * 5000)
    assert clients.handler.requests[0].fate == [Reason.OVERLOADED]


async def test_a_response_that_is_not_read_is_cut() -> None:
    clients = Clients(memory=TIGHT)
    _, pipe = connect(clients)
    pipe.unsent = 5000
    clients.connections.check(clients.now)
    assert pipe.fate == ["aborted"]
    assert [report.reason for report in clients.reports] == [Reason.OVERLOADED]
    assert held(clients) == 0


async def test_what_lingers_is_cut_and_what_is_emptied_lingers() -> None:
    clients = Clients(memory=TIGHT)
    connection, pipe = connect(clients, POST)
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert connection.state is State.EMPTYING
    connection.data_received(b"a" * 8000)  # nobody reads them
    assert (connection.state, pipe.fate) == (State.LINGERING, ["eof"])
    pipe.unsent = 5000
    connection.weigh()
    clients.connections.memory.relieve()
    assert pipe.fate == ["eof", "aborted"]


async def test_an_idle_connection_whose_buffers_are_large_is_closed() -> None:
    clients = Clients(memory=60_000)
    know(clients, b"Host", b"Content-Length")
    body = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 64000\r\n\r\n" + b"a" * 64_000
    connection, pipe = connect(clients, secure=True)
    clients.connections.memory.limit = 1024**2
    connection.data_received(body)
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert connection.held > 40_000
    assert pipe.fate == []
    clients.connections.memory.limit = 40_000
    clients.connections.check(clients.now)
    assert pipe.fate == ["closed"]
    assert held(clients) == 0


async def test_a_tunnel_is_cut() -> None:
    class Tunnel:
        def check(self, now: float) -> None: ...

    clients = Clients(memory=TIGHT)
    connection, pipe = connect(clients, GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    tunnel: Any = Tunnel()
    connection.start_tunnel(tunnel)
    pipe.unsent = 9000
    connection.pause_writing()
    await asyncio.sleep(0)
    assert pipe.fate == ["aborted"]


async def test_the_response_of_an_admitted_request_stays_its_own_after_it_was_written() -> None:
    clients = Clients()
    connection, pipe = connect(clients, GET)
    (request,) = clients.handler.requests
    assert not connection.admitted
    request.verified = object()
    assert connection.admitted
    pipe.unsent = 90_000
    connection.pause_writing()
    request.answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert connection.exchange is None
    assert connection.admitted


async def test_a_connection_that_is_gone_has_nothing_to_give_up() -> None:
    clients = Clients()
    connection, pipe = connect(clients, HALF)
    connection.connection_lost(None)
    connection.give_up()
    assert (pipe.fate, clients.connections.memory.held) == ([], 0)
    assert clients.defects == []
