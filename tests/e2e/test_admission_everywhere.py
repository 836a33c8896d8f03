"""The admission rule holds wherever a token is used: first request, repeated head, body, flowing stream, introspection."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from sidecar.core import admission
from sidecar.core.policy import Route
from sidecar.core.reasons import Reason
from sidecar.core.revocations import NotBefore
from tests.support.process import AUDIENCE, ISSUER
from tests.support.raw import read_response
from tests.support.serving import NOW, Serving, serving
from tests.support.upstream import Received, Upstream, reply

KEY: dict[str, Any] = {"kid": "old", "alg": "HS256", "secret": "k" * 32}
OTHER: dict[str, Any] = {"kid": "other", "alg": "HS256", "secret": "o" * 32}


def expire(made: Serving) -> None:
    made.now = NOW + 1800


def lose_the_key(made: Serving) -> None:
    made.use_keys(OTHER)


def disable(made: Serving) -> None:
    clients = tuple(
        client.model_copy(update={"disabled": client.client_id == "reporting"}) for client in made.app.settings.clients
    )
    made.use(clients=clients)


def revoke(made: Serving) -> None:
    made.app.view.add([("j", int(NOW) + 5000)])


def issued_too_early(made: Serving) -> None:
    made.app.view.add([(NotBefore("client", "reporting", int(NOW)).entry, int(NOW) + 5000)])


def lose_the_store(made: Serving) -> None:
    made.app.view._confirmed = made.app.monotonic() - 60


def close_the_route(made: Serving) -> None:
    made.use(routes=(made.app.settings.routes[0].model_copy(update={"access": "deny", "scope": ()}),))


def ask_for_more(made: Serving) -> None:
    made.use(routes=(made.app.settings.routes[0].model_copy(update={"scope": ("orders:write",)}),))


# What becomes of a token that was good; the status and reason that a request meets, whether a stream ends, and whether
# introspection calls it active (None: it cannot say).
CASES: dict[str, tuple[Callable[[Serving], None], int, str, bool, bool | None]] = {
    "expired": (expire, 401, "expired", True, False),
    "unknown_key": (lose_the_key, 401, "unknown_key", True, False),
    "client_disabled": (disable, 401, "client_disabled", True, False),
    "revoked": (revoke, 401, "revoked", True, False),
    "revoked by a not-before time": (issued_too_early, 401, "revoked", True, False),
    "insufficient_scope": (ask_for_more, 403, "insufficient_scope", True, True),
    "denied_by_route": (close_the_route, 403, "denied_by_route", True, True),
    "store_unavailable": (lose_the_store, 503, "store_unavailable", False, None),
}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    def answer(received: Received, connection: socket.socket) -> bool:
        if received.target == "/orders/stream":
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            return connection.recv(1) == b"never"
        connection.sendall(reply(200, b"{}"))
        return True

    clients = [
        {"client_id": "reporting", "client_secret": "reporting-secret", "grant_types": ["client_credentials"], "scope": "orders:read"},
        {"client_id": "asker", "client_secret": "asker-secret", "grant_types": ["client_credentials"], "introspect": True},
    ]  # fmt: skip
    with Upstream(answer) as upstream:
        tokens = {"issuer": ISSUER, "audience": AUDIENCE, "signing_keys": [KEY]}
        routes = [{"path": "/orders/**", "scope": "orders:read"}]
        async with serving(tmp_path, upstream.url, clients=clients, tokens=tokens, routes=routes) as made:
            yield made


def head(token: str, path: str = "/orders/1") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def outcome(connection: socket.socket) -> tuple[int, str | None]:
    response = read_response(connection)
    return response.status, json.loads(response.body).get("reason")


def connect(made: Serving) -> socket.socket:
    host, _, port = made.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


async def first_request(made: Serving, token: str, change: Callable[[Serving], None]) -> tuple[int, str | None]:
    change(made)
    with connect(made) as connection:
        connection.sendall(head(token))
        return await asyncio.to_thread(outcome, connection)


async def repeated_head(made: Serving, token: str, change: Callable[[Serving], None]) -> tuple[int, str | None]:
    with connect(made) as connection:
        for _ in range(3):
            connection.sendall(head(token))
            assert await asyncio.to_thread(outcome, connection) == (200, None)
        change(made)
        connection.sendall(head(token))
        return await asyncio.to_thread(outcome, connection)


async def known_elsewhere(made: Serving, token: str, change: Callable[[Serving], None]) -> tuple[int, str | None]:
    assert await made.call(token, "/orders/1") == (200, None)
    change(made)
    return await made.call(token, "/orders/1?x=1")


async def in_the_body(made: Serving, token: str, change: Callable[[Serving], None]) -> tuple[int, str | None]:
    body = json.dumps({"access_token": token, "a": 1}).encode()
    lines = b"POST /orders/1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    with connect(made) as connection:
        connection.sendall(lines + body)
        assert await asyncio.to_thread(outcome, connection) == (200, None)
        change(made)
        connection.sendall(lines + body)
        return await asyncio.to_thread(outcome, connection)


@pytest.mark.parametrize("way", [first_request, repeated_head, known_elsewhere, in_the_body])
@pytest.mark.parametrize("case", CASES)
async def test_a_request_meets_the_rule(served: Serving, case: str, way: Any) -> None:
    change, status, reason, _, _ = CASES[case]
    assert await way(served, served.issue(), change) == (status, reason)


@pytest.mark.parametrize("case", CASES)
async def test_a_stream_meets_the_rule(served: Serving, case: str) -> None:
    change, _, _, ends, _ = CASES[case]
    with connect(served) as connection:
        connection.sendall(head(served.issue(), "/orders/stream"))
        data = b""
        while b"hello" not in data:
            data += await asyncio.to_thread(connection.recv, 65536)
        served.app.connections.check(served.app.monotonic())
        assert len(served.app.connections.connections) == 1
        change(served)
        served.app.connections.check(served.app.monotonic())
        connection.settimeout(10 if ends else 0.2)
        if ends:
            rest = b""
            with contextlib.suppress(ConnectionError):
                while part := await asyncio.to_thread(connection.recv, 65536):
                    rest += part
            assert b"0\r\n\r\n" not in rest  # cut, so that it cannot be taken for whole
        else:
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(connection.recv, 65536)


@pytest.mark.parametrize("case", CASES)
async def test_introspection_meets_the_rule(served: Serving, case: str) -> None:
    change, _, _, _, active = CASES[case]
    token = served.issue()

    async def ask() -> tuple[int, bool | None]:
        response = await asyncio.to_thread(
            requests.post,
            f"{served.url}/oauth/introspect",
            data={"token": token},
            auth=("asker", "asker-secret"),
            timeout=10,
        )
        return response.status_code, response.json().get("active")

    assert await ask() == (200, True)
    change(served)
    assert await ask() == ((503, None) if active is None else (200, active))


async def test_a_condition_that_is_added_to_the_rule_holds_for_repeated_heads_too(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stricter(token: Any, route: Route | None, *rest: Any) -> Reason | None:
        return Reason.DENIED_BY_ROUTE if len(asked) > 1 else admission.objection(token, route, *rest)

    asked: list[int] = []
    monkeypatch.setattr("sidecar.proxy.handler.objection", stricter)
    with connect(served) as connection:
        for expected in (200, 403):
            asked.append(expected)
            connection.sendall(head(served.issue()))
            assert (await asyncio.to_thread(outcome, connection))[0] == expected
