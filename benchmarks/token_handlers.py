"""Token endpoints of aiohttp, each a single handler: `python -m benchmarks.token_handlers bare|pyjwt PORT FILE`.

`FILE` is a JSON answer of ours. The bare one looks at nothing and returns the same; the other reads the form, compares id and
secret, and signs the same claims anew. Both are given what helps them: uvloop, no access log.
"""

import hmac
import json
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import uvloop
from aiohttp import web

from benchmarks.contenders import CLIENT, SECRET
from benchmarks.tokens import KEY, KID


class Bare:
    """The same JSON for everybody."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    async def handle(self, _: web.Request) -> web.Response:
        """200."""
        return web.json_response(self._answer)


class WithPyJwt:
    """A token for the client, with the claims of the one in `answer`."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer
        self._claims = jwt.decode(answer["access_token"], options={"verify_signature": False})

    async def handle(self, request: web.Request) -> web.Response:
        """200, or 401."""
        form = await request.post()
        known = form.get("grant_type") == "client_credentials" and form.get("client_id") == CLIENT
        if not known or not hmac.compare_digest(str(form.get("client_secret")), SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response(
            {**self._answer, "access_token": self._signed()}, headers={"Cache-Control": "no-store"}
        )

    def _signed(self) -> str:
        iat = int(time.time())
        exp = iat + self._answer["expires_in"]
        times = {"iat": iat, "nbf": iat, "exp": exp, "createdAt": iat * 1000, "expiredate": exp * 1000}
        claims = {**self._claims, **times, "jti": secrets.token_urlsafe(16)}
        return jwt.encode(claims, KEY, "HS256", headers={"kid": KID, "typ": "at+jwt"})


_KINDS: dict[str, type[Bare | WithPyJwt]] = {"bare": Bare, "pyjwt": WithPyJwt}


def application(kind: str, answer: dict[str, Any]) -> web.Application:
    """It, with one route."""
    app = web.Application()
    app.router.add_post("/oauth/token", _KINDS[kind](answer).handle)
    return app


if __name__ == "__main__":
    uvloop.install()
    kind, port, file = sys.argv[1:]
    app = application(kind, json.loads(Path(file).read_text()))
    web.run_app(app, host="127.0.0.1", port=int(port), access_log=None, print=lambda _: None)
