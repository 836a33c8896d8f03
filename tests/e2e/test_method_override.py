"""A header that asks for another method cannot lead around a rule for that method."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.support.process import Sidecar
from tests.support.raw import Response, read_all, read_response
from tests.support.upstream import Upstream, reply, saying


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {
        "routes": [
            {"path": "/orders/**", "methods": ["DELETE"], "access": "deny"},
            {"path": "/orders/**", "methods": ["GET"], "scope": "orders:read"},
            {"path": "/notes/**", "methods": ["PUT", "DELETE"], "scope": "orders:write"},
            {"path": "/notes/**", "access": "public"},
            {"path": "/shut/**", "methods": ["POST"], "access": "deny"},
            {"path": "/shut/**", "access": "public"},
            {"path": "/open/**", "access": "public"},
            {"path": "/closed/**", "access": "deny"},
        ]
    }


@pytest.fixture
def line(sidecar: Sidecar) -> Iterator[socket.socket]:
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        yield connection


def ask(connection: socket.socket, method: str, target: str, *fields: str) -> Response:
    connection.sendall("\r\n".join([f"{method} {target} HTTP/1.1", "Host: a", *fields, "", ""]).encode("latin-1"))
    return read_response(connection, method)


def outcome(response: Response) -> object:
    return response.status if response.status < 400 else json.loads(response.body)["reason"]


NAMES = [
    "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override", "X_HTTP_METHOD_OVERRIDE",
    "x.http.method", "X~Method~Override", "X-HTTP_Method|Override",
]  # fmt: skip
VALUES = [
    "DELETE", "delete", "\tDeLeTe ", "POST, DELETE", "DELETE;q=1", '"DELETE"', "DELETE DELETE", "D\xc9LETE", "%44ELETE",
    "*", "a,b,c,d,e,f,g,h,i",
]  # fmt: skip
HARMLESS = ["", "POST", "post", "PATCH", "PUT", "PROPFIND", '"post"']


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", VALUES)
def test_a_method_with_another_rule_is_ambiguous(
    line: socket.socket, upstream: Upstream, token: str, name: str, value: str
) -> None:
    response = ask(line, "POST", "/orders/1", f"Authorization: Bearer {token}", "Content-Length: 0", f"{name}: {value}")
    assert (response.status, outcome(response)) == (400, "ambiguous_method")
    assert upstream.take() == []


@pytest.mark.parametrize("value", HARMLESS)
def test_a_method_with_the_same_rule_goes_on_untouched(
    line: socket.socket, upstream: Upstream, token: str, value: str
) -> None:
    fields = [f"Authorization: Bearer {token}", "Content-Length: 0", f"X-Http-Method-Override: {value}"]
    assert outcome(ask(line, "POST", "/orders/1", *fields)) == 200
    assert upstream.take()[0].values("x-http-method-override") == [value]


@pytest.mark.parametrize("value", VALUES)
def test_where_no_rule_names_a_method_the_header_goes_on(
    line: socket.socket, upstream: Upstream, token: str, value: str
) -> None:
    field = f"X-HTTP-Method-Override: {value}"
    assert outcome(ask(line, "GET", "/x", f"Authorization: Bearer {token}", field)) == 200
    assert outcome(ask(line, "GET", "/open/x", field)) == 200
    assert outcome(ask(line, "GET", "/oauth/jwks", field)) == 200
    assert [received.values("x-http-method-override") for received in upstream.take()] == [[value.strip()]] * 2
    assert outcome(ask(line, "GET", "/closed/x", field)) == "denied_by_route"


OTHERS = {
    "to what needs a token": ("GET", "/notes/1", "PUT"),
    "to what is closed": ("GET", "/shut/1", "POST"),
    "from what is closed": ("POST", "/shut/1", "GET"),
    "in a second field": ("GET", "/notes/1", "GET\r\nX-HTTP-Method: PUT"),
    "in the first of two": ("GET", "/notes/1", "PUT\r\nX-Method-Override: GET"),
    "of GET for HEAD's rule": ("HEAD", "/orders/1", "DELETE"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_public_and_closed_routes_too(line: socket.socket, upstream: Upstream, case: str) -> None:
    method, target, value = OTHERS[case]
    response = ask(line, method, target, f"X-HTTP-Method-Override: {value}")
    assert response.status == 400
    assert upstream.take() == []


def test_head_and_get_are_one(line: socket.socket, upstream: Upstream, token: str) -> None:
    upstream.answer = saying(reply(200, b""))
    bearer = f"Authorization: Bearer {token}"
    assert outcome(ask(line, "HEAD", "/orders/1", bearer, "X-HTTP-Method-Override: GET")) == 200
    assert outcome(ask(line, "GET", "/orders/1", bearer, "X-HTTP-Method-Override: HEAD")) == 200


def test_a_repeated_head_is_asked_again_on_every_path(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """Its bytes are the same; what it means is not. All that can be remembered is: the paths, the head, the token."""
    bearer = f"Authorization: Bearer {token}"
    fields = [bearer, "X-HTTP-Method-Override: DELETE"]
    for _ in range(3):
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            for _ in range(2):
                assert outcome(ask(connection, "GET", "/orders/1", bearer)) == 200
            for _ in range(3):
                assert outcome(ask(connection, "GET", "/x", *fields)) == 200
            assert outcome(ask(connection, "GET", "/orders/1", *fields)) == "ambiguous_method"
    assert [received.target for received in upstream.take()] == (["/orders/1"] * 2 + ["/x"] * 3) * 3


def test_what_a_repeated_head_was_refused_for_is_found_anew(sidecar: Sidecar, upstream: Upstream) -> None:
    for _ in range(3):
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            for _ in range(3):
                assert outcome(ask(connection, "GET", "/x", "X-HTTP-Method-Override: DELETE")) == "missing_token"
            assert outcome(ask(connection, "GET", "/orders/1", "X-HTTP-Method-Override: DELETE")) == "ambiguous_method"
    assert upstream.take() == []


def test_requests_in_one_write_are_asked_each(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    rest = f" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nX-HTTP-Method-Override: DELETE\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall("".join(f"GET {target}{rest}" for target in ("/x", "/x", "/orders/1", "/x")).encode())
        answers = read_all(connection)
    assert (answers.count(b"HTTP/1.1 200 "), answers.count(b"ambiguous_method")) == (2, 1)
    assert [received.target for received in upstream.take()] == ["/x", "/x"]
