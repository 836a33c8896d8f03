"""People who log in, and a client application that sends them to us."""

import base64
import functools
import hashlib
import http.client
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from argon2 import PasswordHasher

USERNAME = "anna"
PASSWORD = "correct horse battery staple"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CLIENT_SECRET = "web-secret"
SPA = "https://spa.example.com/app?x=1"


@functools.cache
def _password_hash() -> str:
    """The least that the sidecar takes: logins cost little time here."""
    return PasswordHasher(time_cost=1, memory_cost=7 * 1024, parallelism=1).hash(PASSWORD)


def users() -> list[dict[str, Any]]:
    """One who may do a part of what the clients may, and one who is disabled."""
    password_hash = _password_hash()
    return [
        {"username": USERNAME, "password_hash": password_hash, "roles": ["clerk"], "scope": "orders:read profile"},
        {"username": "gone", "password_hash": password_hash, "disabled": True},
    ]


def clients(callback: str) -> list[dict[str, Any]]:
    """A confidential client, a public one, and one that knows implicit only; `callback` is the first two's redirect URI."""
    return [
        {
            "client_id": "web",
            "client_name": "Order Desk",
            "client_secret": CLIENT_SECRET,
            "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": [callback],
            "scope": "orders:read orders:write profile",
        },
        {
            "client_id": "other",
            "client_secret": CLIENT_SECRET,
            "grant_types": ["authorization_code"],
            "redirect_uris": [callback, f"{callback}2"],
            "scope": "orders:read orders:write",
        },
        {
            "client_id": "desk",
            "client_name": "Order Desk",
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code"],
            "redirect_uris": ["https://desk.example.com/callback"],
            "scope": "orders:read orders:write profile",
        },
        {
            "client_id": "old",
            "client_secret": CLIENT_SECRET,
            "grant_types": ["implicit"],
            "redirect_uris": [callback],
            "scope": "orders:read profile",
        },
        {
            "client_id": "native",
            "client_name": "Order Desk for the desktop",
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code"],
            "redirect_uris": ["http://127.0.0.1/cb", "com.example.app:/cb"],
            "scope": "orders:read",
        },
        {
            "client_id": "spa",
            "client_secret": CLIENT_SECRET,
            "grant_types": ["implicit"],
            "redirect_uris": [SPA],
            "scope": "orders:read profile",
        },
        {
            "client_id": "off",
            "client_secret": CLIENT_SECRET,
            "grant_types": ["authorization_code"],
            "redirect_uris": [callback],
            "disabled": True,
        },
    ]


def code_request(callback: str, **changes: str | None) -> dict[str, str]:
    """The parameters of a request for a code; `None` leaves one out."""
    whole: dict[str, str | None] = {
        "response_type": "code",
        "client_id": "web",
        "redirect_uri": callback,
        "scope": "orders:read",
        "state": "s t&ä=/#",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


class Page(NamedTuple):
    """An answer to a browser."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def csrf(self) -> str:
        """The token of the page's form."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.text)
        assert found, self.text
        return found[1]

    @property
    def location(self) -> str:
        """Where it redirects to."""
        assert self.status == 303, (self.status, self.text)
        return self.headers["location"]

    @property
    def answer(self) -> dict[str, str]:
        """The parameters that a redirect to a client carries, in the query or the fragment."""
        parts = urlsplit(self.location)
        return dict(parse_qsl(parts.fragment or parts.query, strict_parsing=True))


class Browser:
    """A browser without a screen: it keeps the cookie, and sends forms as the pages have them."""

    def __init__(self, public: str) -> None:
        self._address = urlsplit(public).netloc
        self.cookie = ""

    def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Page:
        """GET, no redirect followed."""
        return self.send("GET", path + (f"?{urlencode(parameters)}" if parameters is not None else ""))

    def post(self, path: str, form: Mapping[str, str], parameters: Mapping[str, str] | None = None) -> Page:
        """POST of a form."""
        return self.send(
            "POST", path + (f"?{urlencode(parameters)}" if parameters is not None else ""), urlencode(form)
        )

    def send(self, method: str, target: str, body: str | None = None, **headers: str) -> Page:
        """Any request."""
        fields = {"Cookie": self.cookie, "Content-Type": "application/x-www-form-urlencoded" if body else "", **headers}
        connection = http.client.HTTPConnection(self._address, timeout=20)
        try:
            connection.request(method, target, body, {name: value for name, value in fields.items() if value})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            page = Page(response.status, found, response.read().decode())
        finally:
            connection.close()
        if "set-cookie" in found:
            self.cookie = found["set-cookie"].partition(";")[0]
        return page

    def log_in(self, parameters: Mapping[str, str], username: str = USERNAME, password: str = PASSWORD) -> Page:
        """Fill in the login page."""
        csrf = self.get("/oauth/authorize", parameters).csrf
        form = {"step": "login", "csrf": csrf, "username": username, "password": password}
        return self.post("/oauth/authorize", form, parameters)

    def decide(self, parameters: Mapping[str, str], decision: str = "allow", **more: str) -> Page:
        """Answer the consent page."""
        csrf = self.get("/oauth/authorize", parameters).csrf
        form = {"step": "consent", "csrf": csrf, "decision": decision, **more}
        return self.post("/oauth/authorize", form, parameters)
