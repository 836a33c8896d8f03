"""What only a proxy may say: gone when a stranger said it, passed on when a trusted proxy did."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import Sidecar, running
from tests.support.raw import Response, exchange, read_response
from tests.support.upstream import Upstream

SEPARATORS = "!#$%&'*+-.^_`|~"
NAMES = [
    "X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-User", "X-Real-IP",
    "True-Client-IP", "X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "Forwarded", "X-Client-IP", "CF-Connecting-IP",
    "X-Original-Host", "X-HTTP-Host-Override", "X-Envoy-Original-Path", "Front-End-Https", "Client-Cert", "SCRIPT_NAME",
    "X-My-Edge",
]  # fmt: skip
ROUTES = [{"path": "/public/**", "access": "public"}]


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {"proxy_headers": ["X-My-Edge"], "routes": ROUTES}


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream) -> Iterator[Sidecar]:
    sections = {"proxy_headers": ["X-My-Edge"], "trusted_proxies": ["127.0.0.0/8"], "routes": ROUTES}
    with running(tmp_path_factory.mktemp("trusting"), shared_upstream.url, **sections) as process:
        yield process


def ask(sidecar: Sidecar, lines: list[str], target: str = "/orders") -> Response:
    head = [f"GET {target} HTTP/1.1", "Host: a", f"Authorization: Bearer {sidecar.token()}", *lines, "", ""]
    return exchange(sidecar.address, "\r\n".join(head).encode())


def spelled(name: str) -> list[str]:
    found = [name.replace("-", each).replace("_", each) for each in SEPARATORS]
    return list(dict.fromkeys([name, name.lower(), name.upper(), *found]))


@pytest.mark.parametrize("target", ["/orders", "/public/x"])
@pytest.mark.parametrize("name", NAMES)
def test_a_stranger_says_nothing_of_it_in_any_spelling(
    sidecar: Sidecar, upstream: Upstream, name: str, target: str
) -> None:
    assert ask(sidecar, [f"{each}: forged" for each in spelled(name)], target).status == 200
    (received,) = upstream.take()
    assert b"forged" not in received.raw
    assert received.values("x-forwarded-for") == ["127.0.0.1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_trusted_proxy_says_it_in_its_own_spelling(behind_proxy: Sidecar, upstream: Upstream, name: str) -> None:
    lines = [f"{each}: {'said' if each.lower() == name.lower() else 'forged'}" for each in spelled(name)]
    assert ask(behind_proxy, lines).status == 200
    (received,) = upstream.take()
    assert b"forged" not in received.raw
    proper = len({each for each in spelled(name) if each.lower() == name.lower()})
    assert received.values(name.lower()) == ["said"] * proper


def test_a_connection_that_repeats_its_head_is_no_way_in(sidecar: Sidecar, upstream: Upstream) -> None:
    rest = f"Host: a\r\nAuthorization: Bearer {sidecar.token()}\r\nX-Original-URL: /forged\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=15) as connection:
        for target in ("/orders", "/orders", "/public/x", "/orders/1", "/orders"):
            connection.sendall(f"GET {target} HTTP/1.1\r\n{rest}".encode())
            assert read_response(connection).status == 200
    seen = upstream.take()
    assert len(seen) == 5
    assert not any(b"forged" in received.raw for received in seen)


@pytest.mark.parametrize("trusted", [True, False])
def test_naming_them_in_connection_changes_nothing(
    sidecar: Sidecar, behind_proxy: Sidecar, upstream: Upstream, *, trusted: bool
) -> None:
    lines = ["X-Real-IP: 192.0.2.1", "X-Forwarded-For: 192.0.2.1", "X-My-Edge: 1"]
    named = "Connection: close, x-real-ip, x-forwarded-for, x-forwarded-proto, x-my-edge"
    assert ask(behind_proxy if trusted else sidecar, [*lines, named]).status == 200
    (received,) = upstream.take()
    assert received.values("x-real-ip") == ["192.0.2.1"] * trusted
    assert received.values("x-my-edge") == ["1"] * trusted
    assert received.values("x-forwarded-for") == ["192.0.2.1, 127.0.0.1" if trusted else "127.0.0.1"]
    assert received.values("x-forwarded-proto") == ["http"]


def test_without_the_list_a_name_is_any_bodys(tmp_path: Path, upstream: Upstream) -> None:
    with running(tmp_path, upstream.url) as sidecar:
        assert ask(sidecar, ["X-My-Edge: 1"]).status == 200
    assert upstream.take()[0].values("x-my-edge") == ["1"]


def test_the_api_is_still_told_what_we_saw(sidecar: Sidecar, upstream: Upstream) -> None:
    response = ask(sidecar, ["X-Forwarded-Host: forged", "X-Forwarded-Proto: https"])
    headers = {name.lower(): value for name, value in json.loads(response.body)["headers"]}
    assert (headers["x-forwarded-host"], headers["x-forwarded-proto"]) == ("a", "http")
    upstream.take()
