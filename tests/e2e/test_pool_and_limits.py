"""The upstream pool, several upstreams, and what happens when there is too much of everything."""

import contextlib
import json
import random
import resource
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.holding import Holding, held
from tests.support.process import Sidecar, configuration, get, running
from tests.support.raw import Response, exchange, read_response
from tests.support.redis import free_port
from tests.support.upstream import Received, Upstream, reply, saying
from tests.support.waiting import wait_until


def head(token: str, target: str = "/x", method: str = "GET", extra: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{extra}\r\n".encode()


def reason(response: Response) -> str:
    return str(json.loads(response.body)["reason"])


def test_connections_are_used_again_the_last_one_first(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    before = upstream.connections
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        for _ in range(50):
            connection.sendall(head(token))
            assert read_response(connection).status == 200
    assert upstream.connections - before <= 1


def test_an_idle_connection_is_closed_before_the_api_would(tmp_path: Path) -> None:
    with Upstream() as upstream, running(tmp_path, {"url": upstream.url, "idle": "300ms"}) as sidecar:
        assert exchange(sidecar.address, head(sidecar.token())).status == 200
        # All of them: the one that answered, and those by which the sidecar found out whether the API is there.
        wait_until(lambda: upstream.closed == upstream.connections, within=5)


def test_there_are_never_more_connections_than_allowed(tmp_path: Path) -> None:
    holding = Holding()
    with Upstream(holding) as upstream, running(tmp_path, {"url": upstream.url, "max_connections": 3}) as sidecar:
        token = sidecar.token()
        with held(sidecar, holding, 3, head(token)) as connections:
            response = exchange(sidecar.address, head(token))
            assert (response.status, reason(response)) == (503, "overloaded")
            assert response.values("retry-after")
            holding.release.set()
            assert [read_response(connection).status for connection in connections] == [200] * 3
        assert exchange(sidecar.address, head(token)).status == 200
        assert sidecar.metric("sidecar_own_failures_total", reason="overloaded") == 1


def test_too_many_requests_are_503_at_once_and_connections_live_on(tmp_path: Path) -> None:
    holding = Holding()
    with Upstream(holding) as upstream, running(tmp_path, upstream.url, limits={"in_flight": 4}) as sidecar:
        token = sidecar.token()
        with held(sidecar, holding, 4, head(token)), socket.create_connection(sidecar.address, timeout=10) as another:
            begun = time.monotonic()
            for _ in range(3):
                another.sendall(head(token))
                response = read_response(another)
                assert (response.status, reason(response)) == (503, "overloaded")
            assert time.monotonic() - begun < 5
            holding.release.set()
            wait_until(lambda: sidecar.metric("sidecar_in_flight_requests") == 0)
            another.sendall(head(token))
            assert read_response(another).status == 200


def test_too_many_connections_are_503_at_once(tmp_path: Path, upstream: Upstream) -> None:
    with running(tmp_path, upstream.url, limits={"connections": 5}) as sidecar, contextlib.ExitStack() as stack:
        token = sidecar.token()
        wait_until(lambda: sidecar.metric("sidecar_connections") == 0)
        kept = [stack.enter_context(socket.create_connection(sidecar.address, timeout=10)) for _ in range(5)]
        for connection in kept:
            connection.sendall(head(token))
            assert read_response(connection).status == 200
        response = exchange(sidecar.address, head(token))
        assert (response.status, reason(response)) == (503, "overloaded")
        kept[0].close()
        wait_until(lambda: exchange(sidecar.address, head(token)).status == 200)


@contextlib.contextmanager
def with_descriptors(folder: Path, upstream: Upstream, count: int) -> Iterator[Sidecar]:
    """A sidecar that may have so many open files."""
    path = folder / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration(upstream.url)))
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({count}, {count})); from sidecar.cli import main; main()"
    with Sidecar(folder, path, command=[sys.executable, "-c", limited]) as sidecar:
        yield sidecar.ready()


def test_a_crowd_leaves_descriptors_for_those_who_are_there_and_for_the_admin(
    tmp_path: Path, upstream: Upstream
) -> None:
    """No more connections are taken than there are descriptors for, and the log names the figures."""
    with with_descriptors(tmp_path, upstream, 100) as sidecar, contextlib.ExitStack() as stack:
        record = sidecar.record("connections_limited")
        assert (record["level"], record["wanted"], record["open_files"]) == ("warning", 20_000, 100)
        assert 1 < record["limit"] < 30
        token = sidecar.token()
        first = stack.enter_context(socket.create_connection(sidecar.address, timeout=10))
        first.sendall(head(token))
        assert read_response(first).status == 200
        crowd = [stack.enter_context(socket.create_connection(sidecar.address, timeout=10)) for _ in range(500)]
        for _ in range(20):
            first.sendall(head(token))
            assert read_response(first).status == 200
            assert get(f"{sidecar.admin}/healthz")[0] == 200
        assert record["limit"] <= sidecar.metric("sidecar_connections") < 40
        assert _descriptors(sidecar.process.pid) < 90
        for connection in crowd:
            connection.close()
        wait_until(lambda: _status(sidecar, token) == 200)
        assert not sidecar.records("accept_paused")


def test_when_descriptors_run_out_all_the_same_accepting_pauses_and_recovers(
    tmp_path: Path, upstream: Upstream
) -> None:
    """It does not spin, it is said once, who is there goes on, and who waited is served in the end."""
    with running(tmp_path, upstream.url) as sidecar, contextlib.ExitStack() as stack:
        token, pid = sidecar.token(), sidecar.process.pid
        first = stack.enter_context(socket.create_connection(sidecar.address, timeout=10))
        first.sendall(head(token))
        assert read_response(first).status == 200
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, hard))
        crowd = [stack.enter_context(socket.create_connection(sidecar.address, timeout=10)) for _ in range(100)]
        sidecar.record("accept_paused", level="error")
        used, begun = _cpu_seconds(pid), time.monotonic()
        wait_until(lambda: time.monotonic() - begun > 2.5)
        assert _cpu_seconds(pid) - used < 0.4
        for _ in range(20):
            first.sendall(head(token))
            assert read_response(first).status == 200
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        for connection in crowd:
            connection.sendall(head(token))
            assert read_response(connection).status == 200
        assert len(sidecar.records("accept_paused")) == 1


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _status(sidecar: Sidecar, token: str) -> int:
    with contextlib.suppress(OSError):
        return exchange(sidecar.address, head(token)).status
    return 0


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_413_and_never_whole_at_the_api(tmp_path: Path, chunked: bool) -> None:
    with Upstream() as upstream, running(tmp_path, upstream.url, limits={"body": "64KiB"}) as sidecar:
        token = sidecar.token()
        for size, expected in ((64 * 1024, 200), (64 * 1024 + 1, 413)):
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, bytes(size)) if chunked else bytes(size)
            framing = "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {size}\r\n"
            response = exchange(sidecar.address, head(token, "/x", "PUT", framing) + body, "PUT")
            assert response.status == expected
        assert reason(response) == "body_too_large"
        assert [len(received.body) for received in upstream.take()] == [64 * 1024]


# Several upstreams.


@pytest.fixture
def three() -> Iterator[list[Upstream]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Upstream()) for _ in range(3)]


def test_the_least_busy_upstream_gets_the_next_request(tmp_path: Path, three: list[Upstream]) -> None:
    holding = Holding()
    for upstream in three:
        upstream.answer = holding
    with running(tmp_path, {"url": [upstream.url for upstream in three]}) as sidecar:
        with held(sidecar, holding, 9, head(sidecar.token())):
            pass
        assert [len(upstream.received) for upstream in three] == [3, 3, 3]


def test_an_upstream_that_is_down_costs_no_request(tmp_path: Path, three: list[Upstream]) -> None:
    """Its requests go to the others, POST too, for nothing of them was sent; and it is used again when it is back."""
    dead_port = free_port()
    urls = [f"http://127.0.0.1:{dead_port}", *(upstream.url for upstream in three)]
    with running(tmp_path, {"url": urls}) as sidecar:
        token = sidecar.token()
        for method in ("GET", "POST") * 20:
            assert (
                exchange(sidecar.address, head(token, method=method, extra="Content-Length: 0\r\n"), method).status
                == 200
            )
        with Upstream(port=dead_port) as back:
            wait_until(lambda: exchange(sidecar.address, head(token)).status == 200 and bool(back.received))


def test_an_upstream_that_answers_nonsense_is_passed_over(tmp_path: Path, three: list[Upstream]) -> None:
    bad, *good = three
    bad.answer = saying(b"nonsense\r\n\r\n", keep=False)
    with running(tmp_path, {"url": [upstream.url for upstream in three]}) as sidecar:
        token = sidecar.token()
        statuses = [exchange(sidecar.address, head(token)).status for _ in range(20)]
        assert statuses.count(502) == 3
        assert statuses[-1] == 200
        assert good


def test_when_all_are_down_it_is_502_and_not_for_ever(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    with Sidecar(tmp_path, configuration({"url": [f"http://127.0.0.1:{port}" for port in ports]})) as sidecar:
        token = sidecar.token()
        assert exchange(sidecar.address, head(token)).status == 502
        with Upstream(port=ports[1]):
            assert exchange(sidecar.address, head(token)).status == 200, "when none is good, all are tried"


# Faults at random points.


def test_clients_and_upstreams_that_vanish_leave_nothing_behind(tmp_path: Path) -> None:
    """A thousand exchanges cut at random points: no answer reaches another client, nothing is left open."""
    rng = random.Random(11)  # noqa: S311  the same points in every run

    def moody(received: Received, connection: socket.socket) -> bool:
        number = int(received.target[1:])
        body = f"{number}:".encode() * 3000
        answer = reply(200, body)
        mood = number % 7
        if mood == 1:
            connection.sendall(answer[: rng.randrange(len(answer))])
            return False
        if mood == 2:
            return False
        if mood == 3:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            return False
        connection.sendall(answer)
        return mood != 4

    with Upstream(moody) as upstream, running(tmp_path, upstream.url) as sidecar:
        token = sidecar.token()
        get(f"{sidecar.public}/x")
        before = _descriptors(sidecar.process.pid)
        for number in range(1000):
            request = head(
                token, f"/{number}", "PUT" if number % 2 else "GET", "Content-Length: 20000\r\n" if number % 2 else ""
            )
            request += bytes(20_000) if number % 2 else b""
            with socket.create_connection(sidecar.address, timeout=20) as connection:
                if rng.random() < 0.4:
                    with contextlib.suppress(OSError):
                        connection.sendall(request[: rng.randrange(len(request))])
                        if rng.random() < 0.5:
                            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    continue
                with contextlib.suppress(OSError):
                    connection.sendall(request)
                if rng.random() < 0.3:
                    connection.recv(rng.randrange(1, 5000))
                    continue
                response = read_response(connection)
                if response.status == 200 and response.complete:
                    assert response.body == f"{number}:".encode() * 3000
                    assert number % 7 not in (1, 2, 3)
                else:
                    assert number % 7 in (1, 2, 3), response.status
        wait_until(lambda: sidecar.metric("sidecar_in_flight_requests") == 0)
        wait_until(lambda: sidecar.metric("sidecar_connections") == 0)
        wait_until(lambda: _descriptors(sidecar.process.pid) <= before + 2)
        assert not sidecar.records("internal_error")


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_ten_thousand_idle_clients_fit_into_400_mib(tmp_path: Path, upstream: Upstream) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000
    if hard < wanted + 500:
        pytest.skip(f"the limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with running(tmp_path, upstream.url) as sidecar, contextlib.ExitStack() as stack:
            token = sidecar.token()
            for _ in range(wanted):
                connection = stack.enter_context(socket.create_connection(sidecar.address, timeout=20))
                connection.sendall(head(token))
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert sidecar.metric("sidecar_connections") >= wanted
            status = Path(f"/proc/{sidecar.process.pid}/status").read_text()
            resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
            assert resident <= 400 * 1024
            assert exchange(sidecar.address, head(token)).status == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
