"""Strangers who make the sidecar hold as much as they can: those who hold most are refused, memory stays within its limit, and
those with a token are served.

The limits here are small. tests/e2e/test_memory_limit.py has real ones."""

import contextlib
import json
import select
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.certificates import Authority
from tests.support.holding import Holding
from tests.support.process import Sidecar, running
from tests.support.raw import Response, connect, read_response
from tests.support.upstream import Received, Upstream, reply
from tests.support.waiting import wait_until

LIMIT: Final = {"tcp": 4 * 1024**2, "tls": 16 * 1024**2}
CROWD: Final = {"tcp": 200, "tls": 90}  # connections alone take no more than half of the memory
LARGE: Final = reply(200, b"a" * 8 * 1024**2)
ROUTES: Final = [{"path": "/public/**", "access": "public"}]
FORM: Final = b"Content-Type: application/x-www-form-urlencoded\r\n"
POST: Final = b"POST %b HTTP/1.1\r\nHost: a\r\n" + FORM + b"%bContent-Length: %d\r\n\r\na="


class Place:
    """A sidecar whose limit is small; `connect` speaks TLS if it does."""

    def __init__(self, sidecar: Sidecar, upstream: Upstream, kind: str, context: ssl.SSLContext | None) -> None:
        self.sidecar = sidecar
        self.upstream = upstream
        self.limit = LIMIT[kind]
        self.crowd = CROWD[kind]
        self._context = context
        self.token = self._token()

    def connect(self, buffer: int = 0) -> socket.socket:
        """A connection; `buffer` as in `raw.connect`."""
        return connect(self.sidecar.address, buffer=buffer, context=self._context)

    def _token(self) -> str:
        form = b"grant_type=client_credentials&client_id=reporting&client_secret=reporting-secret"
        head = b"POST /oauth/token HTTP/1.1\r\nHost: a\r\n" + FORM + b"Content-Length: %d\r\n\r\n" % len(form)
        return str(json.loads(self.ask(head + form).body)["access_token"])

    def ask(self, *parts: bytes) -> Response:
        """The response to a request that is sent in these parts, on a connection of its own."""
        with self.connect() as connection:
            for part in parts[:-1]:
                connection.sendall(part)
                time.sleep(0.02)  # so that it is a read of its own
            connection.sendall(parts[-1])
            return read_response(connection)

    def get(self, target: str = "/x") -> bytes:
        """A request with a token."""
        return f"GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {self.token}\r\n\r\n".encode()

    @property
    def held(self) -> float:
        return self.sidecar.metric("sidecar_memory_held_bytes")

    @property
    def refused(self) -> float:
        return self.sidecar.metric("sidecar_own_failures_total", reason="overloaded")

    @contextlib.contextmanager
    def crowding(self, data: bytes, **how: Any) -> Iterator[list[socket.socket]]:
        """As many strangers as there is room for, each of whom sends `data`."""
        before = self.refused
        with contextlib.ExitStack() as stack:
            crowd = []
            for _ in range(self.crowd):
                connection = stack.enter_context(self.connect(**how))
                with contextlib.suppress(OSError):
                    connection.sendall(data)
                crowd.append(connection)
            wait_until(lambda: self.refused > before)
            assert self.sidecar.metric("sidecar_memory_limit_bytes") == self.limit
            assert self.held <= self.limit
            yield crowd

    def serves(self) -> None:
        """Those with a token are served, also those whose head or body arrives in parts."""
        head = self.get()
        for parts in ([head], [head[:40], head[40:]]):
            assert self.ask(*parts).status == 200
        body = b"access_token=" + self.token.encode()
        start = b"POST /x HTTP/1.1\r\nHost: a\r\n" + FORM + b"Content-Length: %d\r\n\r\n" % len(body)
        assert self.ask(start, body[:50], body[50:]).status == 200


def answer(received: Received, connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        connection.sendall(LARGE if "large" in received.target else reply())
    return True


@pytest.fixture(scope="module", params=["tcp", "tls"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("memory")
    kind, context = request.param, None
    sections: dict[str, Any] = {}
    if kind == "tls":
        authority = Authority(folder / "ca")
        pair = authority.issue("server", "server")
        sections["tls"] = {"certificate": str(pair.certificate), "key": str(pair.key)}
        context = authority.trusting()
    limits = {"memory": f"{LIMIT[kind] // 1024**2}MiB", "headers": "128KiB"}
    sections |= {"limits": limits, "routes": ROUTES, "credentials": {"body_limit": "256KiB"}}
    with Upstream(answer) as upstream, running(folder, upstream.url, **sections) as sidecar:
        yield Place(sidecar, upstream, kind, context)


def refusals(crowd: list[socket.socket]) -> list[bytes]:
    """What those got who were refused because there was too much."""
    readable, _, _ = select.select(crowd, [], [], 0)
    return [data for data in map(_all_there_is, readable) if b" 503 " in data]


def _all_there_is(connection: socket.socket) -> bytes:
    """What arrives until the connection ends, or nothing arrives for a moment."""
    data = b""
    connection.settimeout(0.05)
    with contextlib.suppress(OSError):
        while part := connection.recv(65536):
            data += part
    return data


UNFINISHED: Final[dict[str, bytes]] = {
    "a large field": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 60_000 + b"\r\nY",
    "a field beyond ASCII": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 60_000 + "😀".encode() + b"\r\nY",
    "many small fields": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"a%d: b%d\r\n" % (i, i) for i in range(500)),
    "a head behind a request": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\naGET / HTTP/1.1\r\nX: " + b"a" * 60_000,
    "a body that may hold a token": POST % (b"/x", b"", 200_000) + b"a" * 199_000,
    "a body in pieces": b"POST /x HTTP/1.1\r\nHost: a\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\n" + b"30000\r\n" + b"a" * 190_000,
    "a body for a public route": POST % (b"/public/x", b"", 200_000) + b"a" * 199_000,
    "a body for our own endpoint": POST % (b"/oauth/token", b"X: " + b"a" * 60_000 + b"\r\n", 65_000) + b"a" * 64_000,
}  # fmt: skip


@pytest.mark.parametrize("case", UNFINISHED)
def test_those_who_do_not_finish_are_refused_and_others_served(place: Place, case: str) -> None:
    with place.crowding(UNFINISHED[case]) as crowd:
        place.serves()
        found = refusals(crowd)
        assert found
        for data in found:
            _, _, refusal = data.partition(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: " in refusal
            assert b"\r\nConnection: close\r\n" in refusal
            assert json.loads(refusal.partition(b"\r\n\r\n")[2])["reason"] == "overloaded"
        assert len(found) < place.crowd, "no more are refused than necessary"
    wait_until(lambda: place.held == 0)


def test_requests_that_wait_behind_another_count(place: Place) -> None:
    """Each stranger has one request that the API does not answer, and thirty large ones behind it."""
    holding = Holding()
    place.upstream.answer = holding
    first = b"GET /public/x HTTP/1.1\r\nHost: a\r\n\r\n"
    behind = b"GET /public/x HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 7000 + b"\r\n\r\n"
    try:
        with place.crowding(first + 30 * behind):
            place.upstream.answer = answer
            place.serves()
        wait_until(lambda: place.held == 0)
    finally:
        holding.release.set()
        place.upstream.answer = answer


def test_strangers_who_do_not_read_are_cut_and_the_owner_of_a_token_is_not(place: Place) -> None:
    with place.connect(buffer=4096) as slow:
        slow.sendall(place.get("/large"))
        with place.crowding(b"GET /public/large HTTP/1.1\r\nHost: a\r\n\r\n", buffer=4096) as crowd:
            place.serves()
            assert any(not read_response(connection).complete for connection in reversed(crowd))
        response = read_response(slow)
        assert (response.status, response.complete, len(response.body)) == (200, True, 8 * 1024**2)


def test_owners_of_tokens_come_after_all_others_and_within_the_limit_too(place: Place) -> None:
    """Their responses that nobody reads are cut when they alone are more than may be held."""
    with contextlib.ExitStack() as stack:
        before = place.refused
        for _ in range(place.crowd):
            connection = stack.enter_context(place.connect(buffer=4096))
            connection.sendall(place.get("/large"))
        wait_until(lambda: place.refused > before)
        wait_until(lambda: place.held <= place.limit)
        assert place.ask(place.get()).status == 200
    wait_until(lambda: place.held == 0)
