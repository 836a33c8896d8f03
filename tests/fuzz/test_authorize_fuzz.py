"""Whatever is in the query or the form of an authorization request: no defect, no redirect to an unregistered place, and no code or
token for anybody who did not log in and agree."""

import asyncio
import contextlib
import math
import time
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.assembly.clients import client_registry
from sidecar.assembly.keys import token_rules
from sidecar.assembly.living import living
from sidecar.assembly.people import people
from sidecar.config.settings import Settings
from sidecar.core.events import LoginFailed, LogoutFailed
from sidecar.core.oauth.endpoint_paths import AUTHORIZE, LOGOUT
from sidecar.core.reasons import Reason
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.core.revocations import RevocationView
from sidecar.stores.memory import MemoryStore
from tests.support.people import SPA, clients, code_request, users
from tests.support.process import configuration

CALLBACK = "https://app.example/cb"
# Where a redirect may lead: a registered place, or our own page.
PLACES = (
    f"{CALLBACK}?",
    f"{CALLBACK}2?",
    f"{SPA}&",
    f"{SPA}#",
    f"{CALLBACK}#",
    "http://127.0.0.1",
    "com.example.app:/cb?",
    "https://desk.example.com/callback?",
    "?",
)

NAMES = [
    *code_request(CALLBACK),
    "prompt",
    "grant_type",
    "response_mode",
    "nonce",
    "request",
    "request_uri",
    "step",
    "csrf",
    "decision",
    "username",
    "password",
]
VALUES = st.one_of(
    st.sampled_from(
        [
            "code", "token", "code token", "web", "spa", "native", "old", "off", CALLBACK, SPA, f"{CALLBACK}/..", "https://app.example.evil/cb",
            "http://127.0.0.1:1/cb", "http://127.0.0.1:1/cb@evil", "com.example.app:/cb", "//evil", "javascript:alert(1)", "orders:read", "api-server", "S256",
            "plain", code_request("")["code_challenge"], "none", "login", "consent", "password", "allow", "anna", "\r\nLocation: //evil", "\0", "é€😀",
        ]
    ),
    st.text(max_size=30),
)  # fmt: skip
PAIRS = st.lists(st.tuples(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), VALUES), max_size=14)
STARTS = st.sampled_from(
    [{}, code_request(CALLBACK), {"response_type": "token", "client_id": "spa", "redirect_uri": SPA}]
)


class Patient:
    """Counts nothing."""

    def check(self, username: str, peer: str) -> None:
        return

    async def failed(self, username: str, peer: str) -> None:
        return


class Served:
    """The endpoints as the application makes them; nobody has a session."""

    def __init__(self) -> None:
        settings = Settings.model_validate(
            configuration("http://127.0.0.1:1", users=users(), clients=clients(CALLBACK))
        )
        self.issued: list[Any] = []
        view = RevocationView(5)
        view.confirm(math.inf)
        store = MemoryStore(clock=time.time, emit=self.issued.append)
        self.living = living(store, view, emit=self.issued.append, clock=time.time, monotonic=time.monotonic)
        registry, rules = client_registry(settings.clients), token_rules(settings.tokens)
        self.people = people(settings, registry, rules, self.living, Patient())

    def send(self, method: str, query: str, body: bytes = b"", path: str = AUTHORIZE, **headers: str) -> Reply:
        fields = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        request = EndpointRequest(method, path, query, tuple(fields.items()), body, "127.0.0.1")
        return asyncio.run(self.people.endpoints[path](request))  # type: ignore[arg-type]  # they are coroutine functions


@pytest.fixture(scope="module")
def served() -> Any:
    made = Served()
    with contextlib.closing(made.living):
        yield made


def check(served: Served, reply: Reply) -> None:
    headers = dict(reply.headers)
    assert reply.reason is not Reason.INTERNAL
    assert reply.status in (200, 303, 400, 403, 405)
    for name, value in reply.headers:
        assert "\r" not in name + value
        assert "\n" not in name + value
    if reply.status == 303:
        assert headers["Location"].startswith(PLACES), headers["Location"]
        assert headers["Location"].isascii()
        assert "code=" not in headers["Location"].replace("response_code=", "") or headers["Location"].startswith("?")
        assert "access_token=" not in headers["Location"] or headers["Location"].startswith("?")
    else:
        assert "Location" not in headers
        assert b"<script" not in reply.body
    assert {type(event) for event in served.issued} <= {LoginFailed, LogoutFailed}, (
        "nobody got in, and nothing was issued"
    )
    assert all(event.user in (None, "anna", "gone") for event in served.issued)


@given(STARTS, PAIRS)
def test_any_parameters(served: Served, start: dict[str, str], pairs: list[tuple[str, str]]) -> None:
    changed = {**start, **dict(pairs)}
    for fields in (list(changed.items()), [*start.items(), *pairs]):
        check(served, served.send("GET", urlencode(fields, errors="surrogatepass")))


@given(st.text(max_size=200))
@example("client_id=web&redirect_uri=https://app.example%2Fcb%00")
@example("client_id=web&redirect_uri=" + quote(CALLBACK) + "&state=%ff")
def test_any_query(served: Served, query: str) -> None:
    check(served, served.send("GET", query))
    check(served, served.send("GET", "&".join([urlencode(code_request(CALLBACK)), query])))


@given(STARTS, PAIRS, st.one_of(st.binary(max_size=50), PAIRS), st.text(max_size=60))
def test_any_form(served: Served, start: dict[str, str], pairs: Any, body: Any, cookie: str) -> None:
    data = body if isinstance(body, bytes) else urlencode([("step", "consent"), *body], errors="surrogatepass").encode()
    query = urlencode({**start, **dict(pairs)}, errors="surrogatepass")
    check(served, served.send("POST", query, data, Cookie=f"__Host-sidecar={cookie}"))
    check(served, served.send("POST", "", data, LOGOUT, Cookie=f"__Host-sidecar={cookie}"))
