"""core.http.cross_origin: origins as browsers write them, and what a page gets to read."""

from typing import Any

import pytest

from sidecar.core.http.cross_origin import Sharing, origin_of, page_origins
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.redirect_uris import redirect_uri_fault
from sidecar.core.replies import Reply, with_fields

ORIGINS = {
    "https://app.example.com/callback": "https://app.example.com",
    "https://app.example.com": "https://app.example.com",
    "https://app.example.com?x=1": "https://app.example.com",
    "HTTPS://APP.Example.COM/CallBack": "https://app.example.com",
    "https://app.example.com:443/cb": "https://app.example.com",
    "https://app.example.com:0443/cb": "https://app.example.com",
    "https://app.example.com:/cb": "https://app.example.com",
    "https://app.example.com:8443/cb": "https://app.example.com:8443",
    "https://app.example.com:80/cb": "https://app.example.com:80",
    "https://XN--bcher-KVA.example/cb": "https://xn--bcher-kva.example",
    "https://localhost:5173/cb": "https://localhost:5173",
    "https://127.0.0.1/cb": "https://127.0.0.1",
    "https://[2001:DB8:0:0:0:0:0:1]:8443/cb": "https://[2001:db8::1]:8443",
    "https://[::ffff:127.0.0.1]/cb": "https://[::ffff:7f00:1]",
    "https://[::FFFF:0:0]/cb": "https://[::ffff:0:0]",
}
NONE = [
    "http://127.0.0.1/cb",
    "http://127.0.0.1:8080/cb",
    "http://localhost:5173/cb",
    "http://[::1]/cb",
    "com.example.app:/cb",
    "com.example.app://app.example.com/cb",
]
WEB, PUBLIC = "https://web.example", "https://spa.example"
METHODS = ("Access-Control-Request-Method", "POST")


def client(*uris: str, **fields: Any) -> Client:
    fields = {"token_endpoint_auth_method": "none", **fields}
    return Client("c", (), frozenset(["authorization_code"]), redirect_uris=uris, **fields)


@pytest.mark.parametrize("uri", ORIGINS)
def test_an_origin_is_written_as_browsers_do(uri: str) -> None:
    assert redirect_uri_fault(uri) is None, "it may be registered"
    assert origin_of(uri) == ORIGINS[uri]


@pytest.mark.parametrize("uri", NONE)
def test_what_is_not_https_has_no_origin_here(uri: str) -> None:
    assert redirect_uri_fault(uri) is None, "it may be registered"
    assert origin_of(uri) is None


def test_pages_are_those_of_public_clients() -> None:
    clients = [
        client(f"{PUBLIC}/a", f"{PUBLIC}/b", "https://other.example:8443/", "http://localhost/cb"),
        client(f"{WEB}/cb", token_endpoint_auth_method=None),
        client(f"{WEB}/cb", token_endpoint_auth_method="private_key_jwt"),
        client(f"{WEB}/cb", disabled=True),
    ]
    assert page_origins(clients) == {PUBLIC, "https://other.example:8443"}


@pytest.mark.parametrize("origins", [frozenset([PUBLIC]), None])
def test_an_answer_is_shared_with_one_origin_that_asks(origins: frozenset[str] | None) -> None:
    sharing = Sharing(origins, "POST")
    said = dict(sharing.fields([("Accept", "*/*"), ("oRIGIN", PUBLIC)]))
    assert said["Access-Control-Allow-Origin"] == (PUBLIC if origins else "*")
    assert said.get("Vary") == ("Origin" if origins else None)
    assert said["Access-Control-Expose-Headers"] == "Retry-After, WWW-Authenticate"
    assert "Access-Control-Allow-Credentials" not in said
    assert sharing.fields([]) == ()
    assert sharing.fields([("Origin", PUBLIC), ("Origin", PUBLIC)]) == ()


@pytest.mark.parametrize(
    "origin",
    ["", "null", "*", WEB, PUBLIC.upper(), f"{PUBLIC}:443", f"{PUBLIC}/", f"{PUBLIC}.evil", f" {PUBLIC}", f"{PUBLIC} {WEB}",
     PUBLIC.replace("https", "http"), "https://xspa.example"],
)  # fmt: skip
def test_no_other_origin_gets_anything(origin: str) -> None:
    sharing = Sharing(frozenset([PUBLIC]), "POST")
    assert sharing.fields([("Origin", origin)]) == ()
    assert sharing.preflight("OPTIONS", [("Origin", origin), METHODS]) is None


def test_a_preflight_is_answered_for_who_may_read() -> None:
    sharing = Sharing(frozenset([PUBLIC]), "POST")
    answer = sharing.preflight("OPTIONS", [("Origin", PUBLIC), METHODS])
    assert answer is not None
    assert (answer.status, answer.body, answer.reason) == (204, b"", None)
    assert dict(answer.headers) == {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, *",
        "Access-Control-Max-Age": "7200",
    }
    assert sharing.preflight("OPTIONS", [("Origin", PUBLIC)]) is None
    assert sharing.preflight("POST", [("Origin", PUBLIC), METHODS]) is None


def test_no_field_is_said_twice() -> None:
    everybody = ("Access-Control-Allow-Origin", "*")
    reply = Reply(200, (everybody,), b"")
    assert with_fields(reply, ()) is reply
    assert with_fields(reply, (everybody,)) is reply
    assert with_fields(reply, (everybody, ("Vary", "Origin"))).headers == (everybody, ("Vary", "Origin"))
