"""The service that many put behind nginx's `auth_request`: PyJWT, and one question to Redis per request.

`python -m benchmarks.auth_service PORT REDIS_PORT`. It is given what helps it: uvloop, hiredis, no access log.
"""

import sys

import jwt
import redis.asyncio
import uvloop
from aiohttp import web

from benchmarks.tokens import AUDIENCE, ISSUER, KEY, SCOPE

_BEARER = "Bearer "


class Service:
    """204 for a token that is good and not revoked, else 401."""

    def __init__(self, store: "redis.asyncio.Redis") -> None:
        self._store = store

    async def check(self, request: web.Request) -> web.Response:
        """Redis has a key `revoked:JTI` for each revoked token."""
        value = request.headers.get("Authorization", "")
        try:
            if not value.startswith(_BEARER):
                raise jwt.InvalidTokenError
            token = value.removeprefix(_BEARER)
            claims = jwt.decode(token, KEY, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
        except jwt.InvalidTokenError:
            return web.Response(status=401)
        good = SCOPE in claims["scope"].split() and not await self._store.exists(f"revoked:{claims['jti']}")
        return web.Response(status=204 if good else 401)


async def application(redis_port: int) -> web.Application:
    """The service as an application, on any path."""
    app = web.Application()
    app.router.add_get("/{path:.*}", Service(redis.asyncio.Redis(port=redis_port)).check)
    return app


if __name__ == "__main__":
    uvloop.install()
    port, redis_port = map(int, sys.argv[1:])
    web.run_app(application(redis_port), host="127.0.0.1", port=port, access_log=None, print=lambda _: None)
