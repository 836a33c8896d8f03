"""How a sidecar goes away under traffic: whoever reached it is answered, and nobody else is kept waiting."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.certificates import Authority
from tests.support.holding import Holding, held
from tests.support.process import Sidecar, running
from tests.support.raw import Response, read_response
from tests.support.redis import RedisServer, free_port
from tests.support.upstream import Upstream
from tests.support.visitors import Visitors
from tests.support.waiting import wait_until

REQUEST: Final = b"GET /open HTTP/1.1\r\nHost: a\r\n\r\n"
OPEN: Final = {"routes": [{"path": "/**", "access": "public"}]}
AT_ONCE: Final = 24


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@contextlib.contextmanager
def serving(
    folder: Path, upstream: Upstream, redis: RedisServer, workers: int, **sections: object
) -> Iterator[Sidecar]:
    """A sidecar with so many workers, whose routes are all public."""
    folder.mkdir(exist_ok=True)
    with running(folder, upstream.url, workers=workers, store={"url": redis.url}, **{**OPEN, **sections}) as sidecar:
        yield sidecar


def refused(address: tuple[str, int]) -> bool:
    """Whether nobody listens there. Who is neither refused nor let in is asked again."""
    try:
        socket.create_connection(address, timeout=5).close()
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False
    return False


def asked(connection: socket.socket) -> Response:
    connection.sendall(REQUEST)
    return read_response(connection)


@pytest.mark.parametrize("workers", [1, 2])
def test_while_a_request_finishes_nobody_else_is_let_in(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, workers: int
) -> None:
    """Who connects is refused at once, and not kept until the last worker is gone; another may take the port."""
    upstream.answer = holding = Holding()
    port = free_port()
    with (
        serving(tmp_path / "a", upstream, redis, workers, listen=f"127.0.0.1:{port}") as sidecar,
        held(sidecar, holding, 1, REQUEST) as (connection,),
    ):
        sidecar.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refused(sidecar.address), within=5)
        assert sidecar.process.poll() is None
        with (
            Upstream() as other,
            serving(tmp_path / "b", other, redis, workers, listen=f"127.0.0.1:{port}") as next_one,
        ):
            with socket.create_connection(next_one.address, timeout=10) as visitor:
                assert asked(visitor).status == 200
            assert sidecar.process.poll() is None
        holding.release.set()
        response = read_response(connection)
        assert (response.status, response.body, response.values("connection")) == (200, b"/open", ["close"])


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_who_had_connected_is_served(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, workers: int, secure: bool
) -> None:
    """The kernel had taken them in, and no worker had seen them yet, when the sidecar was told to go."""
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("server", "localhost")
    tls = {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}} if secure else {}
    with serving(tmp_path / "a", upstream, redis, workers, **tls) as sidecar, contextlib.ExitStack() as stack:
        sidecar.signal_workers(signal.SIGSTOP)
        visitors = [stack.enter_context(socket.create_connection(sidecar.address, timeout=30)) for _ in range(AT_ONCE)]
        if not secure:
            for visitor in visitors:
                visitor.sendall(REQUEST)
        sidecar.process.send_signal(signal.SIGTERM)
        sidecar.signal_workers(signal.SIGCONT)
        if secure:
            context = authority.trusting()
            visitors = [
                stack.enter_context(context.wrap_socket(each, server_hostname="localhost")) for each in visitors
            ]
            for visitor in visitors:
                visitor.sendall(REQUEST)
        responses = [read_response(visitor) for visitor in visitors]
        assert [response.status for response in responses] == [200] * AT_ONCE


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_on_its_way_keeps_an_idle_connection_open(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, workers: int
) -> None:
    """It had been sent, and no worker had read it yet, when the sidecar was told to go."""
    with serving(tmp_path / "a", upstream, redis, workers) as sidecar, contextlib.ExitStack() as stack:
        visitors = [stack.enter_context(socket.create_connection(sidecar.address, timeout=30)) for _ in range(AT_ONCE)]
        assert [asked(visitor).status for visitor in visitors] == [200] * AT_ONCE
        sidecar.signal_workers(signal.SIGSTOP)
        sidecar.process.send_signal(signal.SIGTERM)
        for visitor in visitors:
            visitor.sendall(REQUEST)
        sidecar.signal_workers(signal.SIGCONT)
        responses = [read_response(visitor) for visitor in visitors]
        assert [response.status for response in responses] == [200] * AT_ONCE


@pytest.mark.parametrize("workers", [1, 3])
async def test_traffic_loses_nothing(tmp_path: Path, upstream: Upstream, redis: RedisServer, workers: int) -> None:
    """Neither who connects anew for each request nor who is in the middle of a conversation."""
    with serving(tmp_path / "a", upstream, redis, workers) as sidecar:
        visitors = Visitors(sidecar.address, REQUEST, fresh=8, kept=8, pause=0.01)
        await visitors.answered(400)
        sidecar.process.send_signal(signal.SIGTERM)
        await visitors.gone()
    assert (visitors.lost, visitors.outcomes["unheard"]) == ({}, 16)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [1, 4])
async def test_twenty_drains_lose_nothing(tmp_path: Path, upstream: Upstream, redis: RedisServer, workers: int) -> None:
    lost = {}
    for number in range(20):
        with serving(tmp_path / str(number), upstream, redis, workers) as sidecar:
            visitors = Visitors(sidecar.address, REQUEST, fresh=16, kept=16, pause=0.005)
            await visitors.answered(1000)
            sidecar.process.send_signal(signal.SIGTERM)
            await visitors.gone()
            if visitors.lost:
                lost[number] = visitors.lost
    assert lost == {}
