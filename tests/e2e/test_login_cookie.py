"""The cookie of a login never reaches the API: whoever has it is the user."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.people import Browser, clients, code_request, users
from tests.support.process import UNTHROTTLED, Sidecar, running
from tests.support.raw import exchange, read_response
from tests.support.upstream import Received, Upstream

CALLBACK = "https://app.example/cb"
ASKED = code_request(CALLBACK)
NAMES = {"https": "__Host-sidecar", "http": "sidecar"}


@pytest.fixture(scope="module", params=["https", "http"])
def scheme(request: pytest.FixtureRequest) -> str:
    """That of the issuer, by which the cookie is named."""
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def served(scheme: str, tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream) -> Iterator[Sidecar]:
    tokens = {
        "issuer": f"{scheme}://issuer.example",
        "audience": "api",
        "signing_keys": [{"kid": "k1", "alg": "HS256", "secret": "0123456789abcdef0123456789abcdef"}],
    }
    sections: dict[str, Any] = {
        "tokens": tokens,
        "users": users(),
        "clients": [*clients(CALLBACK), {"client_id": "reporting", "client_secret": "reporting-secret"}],
        "throttling": UNTHROTTLED,
        "routes": [{"path": "/public/**", "access": "public"}],
    }
    with running(tmp_path_factory.mktemp("sidecar"), shared_upstream.url, **sections) as process:
        yield process


@pytest.fixture(scope="module")
def token(served: Sidecar) -> str:
    return served.token()


@pytest.fixture
def browser(served: Sidecar, scheme: str) -> Browser:
    """Somebody who logged in, and can get a code with nothing but the cookie."""
    found = Browser(served.public)
    assert found.log_in(ASKED).status == 303
    assert found.cookie.startswith(NAMES[scheme] + "=")
    assert is_logged_in(served, found.cookie)
    return found


def is_logged_in(served: Sidecar, cookie: str) -> bool:
    """Whether the pages take who sends this for the user."""
    other = Browser(served.public)
    other.cookie = cookie
    return "decision" in other.get("/oauth/authorize", ASKED).text


def ask(served: Sidecar, target: str, *lines: str) -> int:
    return exchange(served.address, "\r\n".join([f"GET {target} HTTP/1.1", "Host: a", *lines, "", ""]).encode()).status


def test_what_the_api_saw_cannot_be_replayed(served: Sidecar, upstream: Upstream, browser: Browser, token: str) -> None:
    """On every way to the API; each cookie that it was shown is tried."""
    cookie = f"Cookie: a=1; {browser.cookie}; b=2"
    bearer = f"Authorization: Bearer {token}"
    upgrade = ["Connection: Upgrade", "Upgrade: websocket"]
    assert ask(served, "/orders", cookie, bearer) == 200
    assert ask(served, "/public/x", cookie) == 200
    assert ask(served, "/public/x", cookie, "Authorization: Bearer the-apis-own") == 200
    assert ask(served, "/public/x", cookie, bearer) == 200
    assert ask(served, "/orders", cookie, bearer, *upgrade) == 200
    assert ask(served, "/public/x", cookie, *upgrade) == 200
    assert ask(served, "http://b.example/orders", cookie, bearer) == 200
    assert ask(served, f"/orders?access_token={token}", cookie) == 200
    seen = upstream.take()
    assert len(seen) == 8
    secret = browser.cookie.partition("=")[2].encode()
    for received in seen:
        assert secret not in received.raw
        assert received.values("cookie") == ["a=1; b=2"]
        assert not is_logged_in(served, received.values("cookie")[0])
    assert is_logged_in(served, f"a=1; {browser.cookie}; b=2")
    upstream.take()


WAYS = {
    "first": (["{}; a=1"], ["a=1"]),
    "last": (["a=1; {}"], ["a=1"]),
    "alone": (["{}"], []),
    "in a field of its own": (["a=1", "{}", "b=2"], ["a=1", "b=2"]),
    "in each of two fields": (["a=1; {}", "{}; b=2"], ["a=1", "b=2"]),
    "twice": (["{}; a=1; {}"], ["a=1"]),
    "without a space": (["a=1;{};b=2"], ["a=1;b=2"]),
    "with tabs": (["a=1;\t{}\t;\tb=2"], ["a=1;\tb=2"]),
    "with a semicolon at the end": (["{};"], []),
    "behind a comma": (["b=2; a=1, {}"], ["b=2"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_wherever_it_stands(served: Sidecar, upstream: Upstream, browser: Browser, token: str, way: str) -> None:
    sent, left = WAYS[way]
    for name in ("Cookie", "cookie"):
        lines = [f"{name}: {value.replace('{}', browser.cookie)}" for value in sent]
        assert ask(served, "/orders", f"Authorization: Bearer {token}", *lines) == 200
        assert upstream.take()[0].values("cookie") == left


def test_a_head_that_repeats_itself_shows_nothing(
    served: Sidecar, upstream: Upstream, browser: Browser, token: str
) -> None:
    rest = f"Host: a\r\nCookie: a=1; {browser.cookie}\r\nAuthorization: Bearer {token}\r\n\r\n"
    with socket.create_connection(served.address, timeout=10) as connection:
        for target in ("/orders", "/orders", "/orders/1", "/public/x", "/public/x", "/orders"):
            connection.sendall(f"GET {target} HTTP/1.1\r\n{rest}".encode())
            assert read_response(connection).status == 200
    assert [received.values("cookie") for received in upstream.take()] == [["a=1"]] * 6


def test_cookies_that_only_look_like_it_go_on(served: Sidecar, upstream: Upstream, token: str) -> None:
    cookies = "sidecars=1; my-sidecar=2; Sidecar=3; panels=main,sidecar;  x"
    assert ask(served, "/orders", f"Authorization: Bearer {token}", f"Cookie: {cookies}") == 200
    assert upstream.take()[0].values("cookie") == [cookies]


async def test_a_real_websocket_client_shows_nothing(
    served: Sidecar, upstream: Upstream, browser: Browser, token: str
) -> None:
    seen: list[Received] = []

    def refuse(received: Received, connection: socket.socket) -> bool:
        seen.append(received)
        connection.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        return False

    upstream.answer = refuse
    headers = {"Cookie": f"{browser.cookie}; a=1", "Authorization": f"Bearer {token}"}
    for target in ("/chat", "/public/chat"):
        with pytest.raises(InvalidStatus):
            async with (
                asyncio.timeout(20),
                connect(served.public.replace("http://", "ws://") + target, additional_headers=headers),
            ):
                pass
    assert [(received.values("upgrade"), received.values("cookie")) for received in seen] == [
        (["websocket"], ["a=1"])
    ] * 2
