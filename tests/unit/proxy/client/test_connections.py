"""proxy.client.connections: how many connections and requests there may be, and how they end; without a network."""

import asyncio
import ipaddress
from typing import Any, Final

import pytest

from sidecar.core.capacity import refused_beyond
from sidecar.core.causes import Cause, Fault
from sidecar.core.events import Decision
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import refusal
from sidecar.proxy.client.connection import ClientConnection
from tests.support.clients import Clients
from tests.support.transport import Pipe

GET: Final = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def connect(clients: Clients, peer: str = "10.0.0.1") -> tuple[ClientConnection, Pipe]:
    connection, pipe = clients.connections.expect(secure=False), Pipe(peername=(peer, 5))
    assert connection is not None
    connection.connection_made(pipe)
    return connection, pipe


async def test_a_connection_counts_from_its_arrival_to_its_end() -> None:
    clients = Clients()
    here = clients.connections.expect(secure=True)
    gone = clients.connections.expect(secure=True)
    assert here is not None
    assert gone is not None
    assert (clients.connections.present, len(clients.connections.arriving)) == (2, 2)
    clients.connections.arrived(gone)
    here.connection_made(Pipe(peername=("10.0.0.1", 5)))
    clients.connections.arrived(here)
    assert (clients.connections.present, len(clients.connections.arriving)) == (1, 0)
    here.connection_lost(None)
    assert clients.connections.present == 0
    assert repr(clients.connections) == "<ClientConnections 0 connections, 0 requests>"


@pytest.mark.parametrize("secure", [False, True])
async def test_beyond_the_limit_some_are_told_so_and_over_tls_none(secure: bool) -> None:
    clients = Clients(connections=16)
    accepted = [clients.connections.expect(secure=secure) for _ in range(40)]
    assert len([each for each in accepted if each is not None]) == 16 + (0 if secure else refused_beyond(16))


async def test_a_crowd_is_told_so_and_leaves_the_others_alone() -> None:
    clients = Clients(connections=1)
    _, first = connect(clients)
    _, second = connect(clients)
    assert clients.connections.crowded
    assert second.written.startswith(b"HTTP/1.1 503 ")
    assert first.written == b""
    assert [(report.reason, report.decision) for report in clients.reports] == [(Reason.OVERLOADED, Decision.REFUSED)]


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("fd00::1", True),
        ("fd01::1", False),
        ("unix", False),
        ("", False),
        ("10.1.2.3%x", False),
    ],
)
async def test_a_peer_is_trusted_when_it_is_in_a_network(peer: str, trusted: bool) -> None:
    networks = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/16")]
    assert Clients(trusted_proxies=networks).connections.trusts(peer) is trusted
    assert not Clients().connections.trusts(peer)


async def test_requests_beyond_the_limit_are_turned_away() -> None:
    clients = Clients(in_flight=2)
    pipes = []
    for _ in range(3):
        connection, pipe = connect(clients)
        connection.data_received(GET)
        pipes.append(pipe)
    assert (len(clients.handler.requests), len(clients.handler.turned_away)) == (2, 1)
    assert [pipe.written[:12] for pipe in pipes] == [b"", b"", b"HTTP/1.1 503"]
    assert clients.connections.in_flight == 2
    for request in clients.handler.requests:
        request.answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert clients.connections.in_flight == 0


async def test_a_request_that_waits_for_its_body_takes_no_place_of_the_others() -> None:
    clients = Clients(in_flight=2)
    requests: Any = clients.handler.requests
    for _ in range(2):
        connect(clients)[0].data_received(GET)
    first, second = requests
    for waiting in (first, second):
        clients.connections.begin_waiting(waiting)
    assert (clients.connections.waiting, clients.connections.in_flight) == (2, 0)
    for _ in range(2):
        connect(clients)[0].data_received(GET)
    third, fourth = requests[2:]
    with pytest.raises(Refused) as caught:
        clients.connections.begin_waiting(third)
    assert caught.value.reason is Reason.OVERLOADED, "as many wait as may be answered"
    with pytest.raises(Refused) as caught:
        clients.connections.end_waiting(first)
    assert caught.value.reason is Reason.OVERLOADED, "others have taken its place"
    first.answer(refusal(Reason.OVERLOADED), 0.0)
    third.answer(refusal(Reason.MISSING_TOKEN), 0.0)
    clients.connections.end_waiting(second)
    assert (clients.connections.waiting, clients.connections.in_flight) == (0, 2)
    for last in (second, fourth):
        last.answer(refusal(Reason.MISSING_TOKEN), 0.0)
    assert clients.connections.in_flight == 0


async def test_a_request_that_ends_while_it_waits_gives_its_place_back() -> None:
    clients = Clients()
    connection, _ = connect(clients)
    connection.data_received(GET)
    (request,) = clients.handler.requests
    clients.connections.begin_waiting(request)  # type: ignore[arg-type]
    connection.connection_lost(None)
    assert request.fate == ["left"]
    clients.connections.end_waiting(request)  # type: ignore[arg-type]
    assert (clients.connections.waiting, clients.connections.in_flight, clients.connections.present) == (0, 0, 0)


async def test_a_request_that_could_not_be_read_is_reported() -> None:
    clients = Clients()
    connection, _ = connect(clients, "10.9.9.9")
    clients.connections.report_unparsed(connection, Reason.MALFORMED_REQUEST, Fault(Cause.NO_PREAMBLE))
    (report,) = clients.reports
    assert (report.status, report.reason, report.peer, report.method) == (
        400,
        Reason.MALFORMED_REQUEST,
        "10.9.9.9",
        "-",
    )
    assert report.fault == Fault(Cause.NO_PREAMBLE)


@pytest.mark.parametrize("end_with_token", [True, False])
async def test_a_stream_whose_token_has_ended_is_ended_unless_that_is_switched_off(end_with_token: bool) -> None:
    clients = Clients(end_with_token=end_with_token)
    requests = clients.handler.requests
    for _ in range(3):
        connect(clients)[0].data_received(GET)
    flowing, public, short = requests
    flowing.streaming = public.streaming = True
    flowing.verified = short.verified = object()
    clients.connections.check(101.0)
    assert [request.fate for request in requests] == [[], [], []]
    clients.handler.objection = Reason.REVOKED
    clients.connections.check(102.0)
    assert [request.fate for request in requests] == [[Reason.REVOKED] if end_with_token else [], [], []]


async def test_a_defect_at_one_connection_ends_that_one() -> None:
    clients = Clients()
    connections = [connect(clients) for _ in range(3)]
    for connection, _ in connections:
        connection.data_received(GET)
    for request in clients.handler.requests:
        request.streaming, request.verified = True, object()

    class Broken(Exception):
        pass

    def recheck(exchange: object) -> None:
        if exchange is clients.handler.requests[1]:
            raise Broken

    clients.handler.recheck = recheck  # type: ignore[method-assign]
    clients.connections.check(101.0)
    assert clients.defects == ["connection Broken()"]
    assert [pipe.fate for _, pipe in connections] == [[], ["aborted"], []]


async def test_draining_closes_the_idle_and_waits_for_the_busy() -> None:
    clients = Clients()
    _, idle = connect(clients)
    busy, pipe = connect(clients)
    busy.data_received(GET)
    clients.now = 105.0
    draining = asyncio.get_running_loop().create_task(clients.connections.drain(10.0))
    await asyncio.sleep(0)
    assert (idle.fate, pipe.fate, clients.connections.draining) == (["eof"], [], True)
    clients.handler.requests[0].keep_alive = False
    clients.handler.requests[0].answer(refusal(Reason.MISSING_TOKEN), clients.now)
    for connection in list(clients.connections.connections):
        connection.connection_lost(None)
    assert await draining == 0
    assert pipe.written.startswith(b"HTTP/1.1 401 ")


async def test_draining_cuts_what_does_not_end_in_time_and_counts_it() -> None:
    clients = Clients()
    busy, pipe = connect(clients)
    busy.data_received(GET)
    draining = asyncio.get_running_loop().create_task(clients.connections.drain(10.0))
    await asyncio.sleep(0)
    assert pipe.fate == []
    clients.now = 110.0
    assert await draining == 1
    assert pipe.fate == ["aborted"]


async def test_clients_are_described_once_each_with_its_own_certificate() -> None:
    clients = Clients(trusted_proxies=[ipaddress.ip_network("10.0.0.0/8")])
    describe = clients.connections.describe
    assert describe("10.0.0.1", None) is describe("10.0.0.1", None)
    inbound = [(b"X-Forwarded-For", b"1.1.1.1")]
    assert {
        (peer, certificate): describe(peer, certificate).block(inbound, "h")
        for peer, certificate in [
            ("10.0.0.1", None),
            ("10.0.0.1", b""),
            ("10.0.0.1", b"Hash=1"),
            ("9.9.9.9", b"Hash=2"),
        ]
    } == {
        ("10.0.0.1", None): b"X-Forwarded-For: 1.1.1.1, 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n",
        ("10.0.0.1", b""): b"X-Forwarded-For: 1.1.1.1, 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\n",
        ("10.0.0.1", b"Hash=1"): b"X-Forwarded-Client-Cert: Hash=1\r\nX-Forwarded-For: 1.1.1.1, 10.0.0.1\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\n",
        ("9.9.9.9", b"Hash=2"): b"X-Forwarded-Client-Cert: Hash=2\r\nX-Forwarded-For: 9.9.9.9\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\n",
    }
    for number in range(3000):
        describe(f"10.{number >> 8}.{number & 255}.1", None)
        clients.connections.trusts(f"10.{number >> 8}.{number & 255}.1")
    assert clients.connections._described.cache_info().currsize <= 1024
    assert clients.connections._is_trusted.cache_info().currsize <= 1024
    assert clients.connections.trusts("10.200.0.1")
    assert not clients.connections.trusts("11.0.0.1")
    assert not clients.connections.trusts("unix")
