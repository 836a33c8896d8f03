"""Ways around the route policy: what is matched is what is forwarded, and what could be read in two ways is refused."""

import json

import pytest

from tests.support.process import Sidecar
from tests.support.raw import exchange
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {
        "routes": [
            {"path": "/public/**", "access": "public"},
            {"path": "/health", "access": "public"},
            {"path": "*", "access": "public"},
        ]
    }


BYPASSES = [
    "/admin?x=/health", "/foo/secret#/bar", "/foo/secret%23/bar", "/public/../admin", "/public/%2e%2e/admin",
    "/public/..;/admin", "//admin", "/public%2f..%5cadmin", "/admin;x", "/public/%252e%252e/admin", "/public\\..\\admin",
    "/public/..%2fadmin", "/.%2e/admin", "/health/../admin", "/health%2f..%2fadmin", "/PUBLIC/x", "/healthz",
    "http://h/admin?/health", "/public%00/../admin", "*", "health", "http://user@h/health", "/x\xff", "/x\x00", "/x\x7f",
]  # fmt: skip


@pytest.mark.parametrize("target", BYPASSES)
def test_no_bypass_reaches_the_upstream(sidecar: Sidecar, upstream: Upstream, target: str) -> None:
    response = exchange(sidecar.address, f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode("latin-1"))
    assert response.status in (400, 401)
    assert json.loads(response.body)["code"] == response.status
    assert upstream.take() == []


@pytest.mark.parametrize(
    "line",
    ["X-Forwarded-Uri: /health", "X-Original-URL: /health", "X-Rewrite-URL: /health", "User-Agent: kube-probe/1.30"],
)
def test_no_header_opens_a_route(sidecar: Sidecar, upstream: Upstream, line: str) -> None:
    response = exchange(sidecar.address, f"GET /admin HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n".encode())
    assert response.status == 401
    assert upstream.take() == []


@pytest.mark.parametrize("target", ["*", "http://h"])
def test_options_for_the_server_as_a_whole_can_be_public(sidecar: Sidecar, upstream: Upstream, target: str) -> None:
    assert exchange(sidecar.address, f"OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()).status == 200
    assert [received.target for received in upstream.take()] == ["*"]
    assert exchange(sidecar.address, b"OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n").status == 401


PUBLIC = {
    "/public/x": "/public/x",
    "/public/a%20b?c=%2e%2e": "/public/a%20b?c=%2e%2e",
    "/public": "/public",
    "/public/": "/public/",
    "http://h/public/x?y": "/public/x?y",
    "/health?access_token=": "/health?access_token=",
    "/public/x?access_token=of-the-api": "/public/x?access_token=of-the-api",
}


@pytest.mark.parametrize("target", PUBLIC)
def test_the_path_that_is_matched_is_the_path_that_is_forwarded(
    sidecar: Sidecar, upstream: Upstream, target: str
) -> None:
    assert exchange(sidecar.address, f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()).status == 200
    assert [received.target for received in upstream.take()] == [PUBLIC[target]]


def test_a_token_of_ours_does_not_reach_a_public_route(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    head = f"GET /public/x?a=1&access_token={token} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n"
    assert exchange(sidecar.address, head.encode()).status == 200
    (received,) = upstream.take()
    assert received.target == "/public/x?a=1"
    assert token.encode() not in received.raw


def test_a_token_of_the_apis_own_does(sidecar: Sidecar, upstream: Upstream) -> None:
    head = "GET /public/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer the-apis-own\r\n\r\n"
    assert exchange(sidecar.address, head.encode()).status == 200
    assert upstream.take()[0].values("authorization") == ["Bearer the-apis-own"]


def test_the_host_makes_no_difference(sidecar: Sidecar, upstream: Upstream) -> None:
    for host in ("API.Example", "api.example", "api.example:3030", "localhost"):
        response = exchange(sidecar.address, f"GET /admin HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert response.status == 401
    assert upstream.take() == []


def test_odd_bytes_make_one_escaped_log_line(sidecar: Sidecar, upstream: Upstream) -> None:
    exchange(sidecar.address, b"GET /odd%1b[31m\x1b HTTP/1.1\r\nHost: h\r\n\r\n")
    exchange(sidecar.address, b"GET /odd%1b%5b31m HTTP/1.1\r\nHost: h\r\n\r\n")
    sidecar.record("request_refused", path="/odd%1b%5b31m")
    assert not any("\x1b" in line or "\r" in line for line in sidecar.logs)
