"""A page of another origin redeems a code, refreshes, revokes and reads errors: in headless Chromium, and byte by byte."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.certificates import Authority
from tests.support.holding import Holding
from tests.support.people import CHALLENGE, PASSWORD, USERNAME, VERIFIER, code_request, users
from tests.support.process import SECRET, UNTHROTTLED, Sidecar, configuration, running
from tests.support.raw import Response, exchange, read_response
from tests.support.redis import RedisServer
from tests.support.upstream import Received, Upstream, reply
from tests.support.waiting import wait_until

SPA, OTHER = "https://spa.example", "https://other.example"
TOKEN, REVOKE, INTROSPECT = "/oauth/token", "/oauth/revoke", "/oauth/introspect"
DOCUMENTS = ["/oauth/jwks", "/.well-known/oauth-authorization-server"]
FORM = "application/x-www-form-urlencoded"
CORS = (
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "access-control-expose-headers",
)
READABLE = {"access-control-allow-origin": [SPA], "access-control-expose-headers": ["Retry-After, WWW-Authenticate"]}


def clients(*redirect_uris: str) -> list[dict[str, Any]]:
    """A public client, a disabled one, and a confidential one with a page of its own."""
    grants = ["authorization_code", "refresh_token"]
    public = {"token_endpoint_auth_method": "none", "grant_types": grants, "scope": "orders:read"}
    return [
        {"client_id": "page", "redirect_uris": [*redirect_uris, "http://localhost:5173/cb"], **public},
        {"client_id": "shut", "redirect_uris": ["https://shut.example/cb"], "disabled": True, **public},
        {
            "client_id": "web",
            "client_secret": SECRET,
            "redirect_uris": ["https://web.example/cb"],
            "grant_types": ["client_credentials", "authorization_code"],
            "introspect": True,
        },
    ]


@pytest.fixture(scope="module")
def sections() -> dict[str, Any]:
    return {"clients": clients(f"{SPA}/cb", "https://SPA.example:8443/cb"), "users": users(), "throttling": UNTHROTTLED}


def ask(
    sidecar: Sidecar, method: str, path: str, body: str = "", *, origin: str | None = SPA, **headers: str
) -> Response:
    return exchange(sidecar.address, request(method, path, body, origin=origin, **headers), method)


def request(method: str, path: str, body: str = "", *, origin: str | None = SPA, **headers: str) -> bytes:
    """Underscores in header names become hyphens."""
    fields = {"Host": "a", "Origin": origin, "Content-Type": FORM if body else None, **headers}
    if body:
        fields["Content-Length"] = str(len(body))
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode()


def preflight(sidecar: Sidecar, path: str, *, origin: str | None = SPA) -> Response:
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type,traceparent"}
    return ask(sidecar, "OPTIONS", path, origin=origin, **asked)


def cors(response: Response) -> dict[str, list[str]]:
    return {name: values for name in CORS if (values := response.values(name))}


def readable(response: Response) -> bool:
    """Whether the page may read it, and no cache gives it to another one."""
    assert cors(response) in ({}, READABLE)
    assert response.values("vary") == (["Origin"] if cors(response) else [])
    return bool(cors(response))


@pytest.mark.parametrize("path", [TOKEN, REVOKE])
def test_a_preflight_tells_the_page_what_it_may_send(sidecar: Sidecar, path: str) -> None:
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        for _ in range(2):  # the browser goes on with the same connection
            connection.sendall(request("OPTIONS", path, Access_Control_Request_Method="POST"))
            response = read_response(connection, "OPTIONS")
            assert (response.status, response.body) == (204, b"")
            assert cors(response) == {
                **READABLE,
                "access-control-allow-methods": ["POST"],
                "access-control-allow-headers": ["Authorization, Content-Type, *"],
                "access-control-max-age": ["7200"],
            }
            assert response.values("vary") == ["Origin"]
            assert response.values("content-length") == [], "RFC 9110 section 8.6"


ERRORS: dict[str, tuple[str, dict[str, str], int]] = {
    "no grant type": (TOKEN, {"client_id": "page"}, 400),
    "a wrong code": (TOKEN, {"client_id": "page", "grant_type": "authorization_code", "code": "x", "code_verifier": VERIFIER}, 400),
    "an unknown client": (TOKEN, {"client_id": "nobody", "grant_type": "authorization_code"}, 401),
    "a confidential client": (TOKEN, {"client_id": "web", "client_secret": "x", "grant_type": "client_credentials"}, 401),
    "no token": (REVOKE, {"client_id": "page"}, 400),
    "nobody's revocation": (REVOKE, {"token": "x"}, 401),
    "too much": (TOKEN, {"client_id": "page", "state": "x" * 70_000}, 413),
}  # fmt: skip


@pytest.mark.parametrize(("path", "form", "status"), ERRORS.values(), ids=ERRORS)
def test_errors_are_read_by_who_may_and_by_nobody_else(
    sidecar: Sidecar, path: str, form: dict[str, str], status: int
) -> None:
    for origin in (SPA, OTHER, None):
        response = ask(sidecar, "POST", path, urlencode(form), origin=origin)
        assert (response.status, readable(response)) == (status, origin == SPA)
        assert json.loads(response.body)["code"] == status


def test_a_method_that_is_none_of_ours_is_said_in_a_way_that_can_be_read(sidecar: Sidecar) -> None:
    for method in ("GET", "PUT", "OPTIONS"):
        response = ask(sidecar, method, TOKEN)
        assert (response.status, response.values("allow"), readable(response)) == (405, ["POST"], True)


def test_an_answer_is_the_same_whoever_asks(sidecar: Sidecar) -> None:
    """Confidential clients, and clients that are no browser, are served whatever `Origin` they send."""
    form = urlencode({"grant_type": "client_credentials", "client_id": "web", "client_secret": SECRET})
    for origin in (SPA, OTHER, None, "null", "chrome-extension://abc", "http://localhost:5173"):
        response = ask(sidecar, "POST", TOKEN, form, origin=origin)
        assert (response.status, readable(response)) == (200, origin == SPA)


NEVER = [
    OTHER, "null", "*", "", SPA.upper(), f"{SPA}:443", f"{SPA}.evil", f"{SPA}/", SPA.replace("s:", ":"), "http://localhost:5173",
    "http://localhost", "https://web.example", "https://shut.example", f"{SPA}, {OTHER}",
]  # fmt: skip


@pytest.mark.parametrize("origin", NEVER)
def test_every_other_origin_is_answered_as_before(sidecar: Sidecar, origin: str) -> None:
    response = preflight(sidecar, TOKEN, origin=origin)
    assert (response.status, response.values("allow"), cors(response)) == (405, ["POST"], {})
    assert response.values("vary") == []
    assert not readable(ask(sidecar, "POST", TOKEN, "client_id=page", origin=origin))


def test_two_origins_are_none(sidecar: Sidecar) -> None:
    head = f"POST {TOKEN} HTTP/1.1\r\nHost: a\r\nOrigin: {SPA}\r\nOrigin: {SPA}\r\nContent-Length: 0\r\n\r\n"
    assert not readable(exchange(sidecar.address, head.encode(), "POST"))


def test_a_port_that_was_registered_is_a_part_of_the_origin(sidecar: Sidecar) -> None:
    assert preflight(sidecar, TOKEN, origin="https://spa.example:8443").status == 204
    assert preflight(sidecar, TOKEN, origin="https://spa.example:8444").status == 405


@pytest.mark.parametrize("path", [INTROSPECT, "/oauth/authorize", "/oauth/logout", "/orders"])
def test_nothing_else_is_shared(sidecar: Sidecar, path: str) -> None:
    for response in (preflight(sidecar, path), ask(sidecar, "POST", path, "client_id=page")):
        assert (response.status != 204, cors(response)) == (True, {})


@pytest.mark.parametrize("path", DOCUMENTS)
def test_documents_are_read_by_every_page(sidecar: Sidecar, path: str) -> None:
    for origin in (SPA, OTHER, "null"):
        response = preflight(sidecar, path, origin=origin)
        assert (response.status, response.values("access-control-allow-methods")) == (204, ["GET, HEAD"])
        for method, status in (("GET", 200), ("POST", 405)):
            response = ask(sidecar, method, path, origin=origin)
            assert (response.status, response.values("access-control-allow-origin")) == (status, ["*"])
            assert response.values("vary") == []
    assert ask(sidecar, "GET", path, origin=None).values("access-control-allow-origin") == ["*"]


def test_below_the_path_of_an_issuer_it_is_the_same(tmp_path: Path, shared_upstream: Upstream) -> None:
    tokens = {**configuration("")["tokens"], "issuer": "https://issuer.example/tenant"}
    with running(tmp_path, shared_upstream.url, clients=clients(f"{SPA}/cb"), tokens=tokens) as sidecar:
        for path in ("/tenant/oauth/token", "/tenant/oauth/revoke", TOKEN):
            assert preflight(sidecar, path).status == 204
            assert readable(ask(sidecar, "POST", path, "client_id=page"))
        assert preflight(sidecar, f"{DOCUMENTS[1]}/tenant").status == 204


def test_without_a_public_client_no_page_is_let_in(tmp_path: Path, shared_upstream: Upstream) -> None:
    with running(tmp_path, shared_upstream.url) as sidecar:
        assert preflight(sidecar, TOKEN).status == 405
        assert not readable(ask(sidecar, "POST", TOKEN, "client_id=reporting"))


def test_who_has_to_wait_is_told_for_how_long(tmp_path: Path, shared_upstream: Upstream) -> None:
    throttling = {**UNTHROTTLED, "failures_per_address": "2/10m"}
    with running(tmp_path, shared_upstream.url, clients=clients(f"{SPA}/cb"), throttling=throttling) as sidecar:
        responses = [ask(sidecar, "POST", TOKEN, "grant_type=refresh_token&client_id=nobody") for _ in range(3)]
        assert [(response.status, readable(response)) for response in responses] == [
            (401, True),
            (401, True),
            (429, True),
        ]
        assert int(responses[-1].values("retry-after")[0]) > 1


def test_a_store_that_does_not_answer_is_no_broken_network(tmp_path: Path, shared_upstream: Upstream) -> None:
    with (
        RedisServer() as redis,
        running(
            tmp_path, shared_upstream.url, clients=clients(f"{SPA}/cb"), users=users(), store={"url": redis.url}
        ) as sidecar,
    ):
        redis.kill()
        form = {"grant_type": "authorization_code", "client_id": "page", "code": "x" * 43, "code_verifier": VERIFIER}
        response = ask(sidecar, "POST", TOKEN, urlencode(form))
        assert (response.status, response.values("retry-after"), readable(response)) == (503, ["1"], True)


def test_too_many_requests_are_no_broken_network(tmp_path: Path) -> None:
    holding = Holding()
    sections: dict[str, Any] = {"clients": clients(f"{SPA}/cb"), "routes": [{"path": "/held", "access": "public"}]}
    with (
        Upstream(holding) as upstream,
        running(tmp_path, upstream.url, limits={"in_flight": 1}, **sections) as sidecar,
        socket.create_connection(sidecar.address, timeout=15) as held,
    ):
        held.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: sidecar.metric("sidecar_in_flight_requests") == 1)
        for path in (TOKEN, f"{TOKEN}?x=1"):
            response = ask(sidecar, "POST", path, "client_id=page")
            assert (response.status, response.values("retry-after"), readable(response)) == (503, ["1"], True)
        assert preflight(sidecar, TOKEN).status == 204, "or the page could not read the refusal"
        assert not readable(ask(sidecar, "POST", TOKEN, "client_id=page", origin=OTHER))
        assert cors(ask(sidecar, "GET", "/held")) == {}
        holding.release.set()
        assert read_response(held).status == 200


# In a browser.

HOSTS = {"spa.example": "spa.example", "bücher.example": "xn--bcher-kva.example"}
FETCH = """async ([url, init]) => {
  try {
    const answer = await fetch(url, init);
    return {status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.text()};
  } catch (error) {
    return {error: error.name};
  }
}"""


class Application:
    """A page in a browser, and the authorization server at another origin."""

    def __init__(self, page: Page, server: str, sidecar: Sidecar) -> None:
        self.page = page
        self.server = server
        self.sidecar = sidecar

    def fetch(self, path: str, form: dict[str, str] | None = None, **init: Any) -> dict[str, Any]:
        """What a script of the page gets to see: status, headers and text, or the name of the error."""
        if form is not None:
            init = {
                "method": "POST",
                "body": urlencode(form),
                **init,
                "headers": {"Content-Type": FORM} | init.get("headers", {}),
            }
        found: dict[str, Any] = self.page.evaluate(FETCH, [f"{self.server}{path}", init])
        return found

    def tokens(self, form: dict[str, str], **init: Any) -> dict[str, Any]:
        answer = self.fetch(TOKEN, {"client_id": "page", **form}, **init)
        assert answer["status"] == 200, answer
        given: dict[str, Any] = json.loads(answer["body"])
        return given


def shown(_: Received, connection: socket.socket) -> bool:
    connection.sendall(
        reply(200, b"<!doctype html><title>Page</title><h1>Welcome back</h1>", "Content-Type: text/html")
    )
    return True


@pytest.fixture(params=HOSTS)
def application(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Application]:
    """The page comes over TLS from a server of its own, which is behind a sidecar, too."""
    host, name = request.param, HOSTS[request.param]
    pair = Authority(tmp_path).issue("server", "sidecar")
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    for folder in ("page", "server"):
        (tmp_path / folder).mkdir()
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(shown))
        public = [{"path": "/**", "access": "public"}]
        pages = stack.enter_context(running(tmp_path / "page", upstream.url, tls=tls, routes=public))
        origin = f"https://{name}:{pages.address[1]}"
        sidecar = stack.enter_context(
            running(tmp_path / "server", upstream.url, tls=tls, users=users(), clients=clients(f"{origin}/cb"))
        )
        playwright = stack.enter_context(sync_playwright())
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP *.example 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        stack.callback(browser.close)
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.set_default_timeout(30_000)
        made = Application(page, f"https://auth.example:{sidecar.address[1]}", sidecar)
        asked = code_request(f"{origin}/cb", client_id="page", code_challenge=CHALLENGE)
        page.goto(f"{made.server}/oauth/authorize?{urlencode(asked)}")
        page.get_by_label("User name").fill(USERNAME)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Allow").click()
        expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
        assert page.evaluate("location.origin") == origin, host
        yield made


def test_a_page_of_another_origin_uses_its_code_and_reads_every_answer(application: Application) -> None:
    page = application
    redirect_uri, _, query = page.page.url.partition("?")
    code = parse_qs(query)["code"][0]
    redeem = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
    wrong = page.fetch(TOKEN, {"client_id": "page", **redeem, "code_verifier": "w" * 43})
    assert (wrong["status"], json.loads(wrong["body"])["error"]) == (400, "invalid_grant")
    first = page.tokens({**redeem, "code_verifier": VERIFIER})
    # These need a preflight: a body of JSON, a header of the page's own.
    refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "client_id": "page"}
    headers = {
        "Content-Type": "application/json",
        "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    second = page.tokens({}, body=json.dumps(refresh), headers=headers)
    assert second["scope"] == "orders:read"
    unknown = page.fetch(TOKEN, {**refresh, "client_id": "nobody"}, headers={"Authorization": "Basic eDp5"})
    assert (unknown["status"], json.loads(unknown["body"])["error"]) == (400, "invalid_request")
    unknown = page.fetch(TOKEN, {**refresh, "client_id": "nobody"})
    assert (unknown["status"], unknown["headers"]["www-authenticate"][:5]) == (401, "Basic")
    revoked = page.fetch(REVOKE, {"client_id": "page", "token": second["refresh_token"]})
    assert (revoked["status"], revoked["body"]) == (200, "")
    again = page.fetch(TOKEN, {**refresh, "refresh_token": second["refresh_token"]})
    assert (again["status"], json.loads(again["body"])["reason"]) == (400, "refresh_revoked")
    for path in DOCUMENTS:
        assert page.fetch(path, headers={"X-Own": "1"})["status"] == 200
    # And nothing else, nor with cookies.
    assert page.fetch(INTROSPECT, {"client_id": "page", "token": "x"}) == {"error": "TypeError"}
    assert page.fetch(REVOKE, {"client_id": "page", "token": "x"}, credentials="include") == {"error": "TypeError"}
    page.page.goto(f"https://evil.example:{urlsplit(redirect_uri).port}/")
    assert page.fetch(TOKEN, {"client_id": "page"}) == {"error": "TypeError"}
    assert page.fetch(DOCUMENTS[0])["status"] == 200
