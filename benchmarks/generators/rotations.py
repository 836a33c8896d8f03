"""Refresh tokens that rotate: `PORT FILE FAMILIES SECONDS CLIENT SECRET`.

Each family has a connection of its own, and uses the token that its last answer gave as soon as that came. `FILE` has their
current tokens, and has them again at the end; where there is none, the families begin with client credentials. Answers: how
many tokens were rotated, in how many seconds.
"""

import asyncio
import functools
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.generators.wire import form, missing
from benchmarks.machine import Invalid

_PATH = "/oauth/token"
_GIVEN = re.compile(rb'"refresh_token": "([\w.-]+)"')


class Family(asyncio.Protocol):
    """A connection and its token. `done` ends with the first answer after `until`, or with what was wrong."""

    def __init__(self, credentials: dict[str, str], token: str | None, until: float) -> None:
        self._credentials = credentials
        self._answer = bytearray()
        self._until = until
        self.token = token
        self.rotations = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Ask at once."""
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        begin = {"grant_type": "client_credentials"}
        asked = begin if self.token is None else {"grant_type": "refresh_token", "refresh_token": self.token}
        self._transport.write(form(_PATH, {**asked, **self._credentials}))

    def data_received(self, data: bytes) -> None:
        """Take what came; ask again when that was all."""
        self._answer += data
        try:
            if missing(self._answer) == 0:
                self._answered(bytes(self._answer))
        except Invalid as exc:
            self._end(exc)

    def _answered(self, answer: bytes) -> None:
        self._answer.clear()
        found = _GIVEN.search(answer)
        given = found[1].decode() if found else None
        if given is None or given == self.token:
            raise Invalid("an answer gives no new refresh token")
        self.rotations += self.token is not None
        self.token = given
        if time.perf_counter() < self._until:
            self._ask()
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Too early, unless all is done."""
        self._end(exc or Invalid("a connection was closed"))

    def _end(self, fault: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(fault) if fault else self.done.set_result(None)


def _itself(family: Family) -> Family:
    return family


async def run(port: int, tokens: list[str | None], seconds: float, credentials: dict[str, str]) -> list[Family]:
    """Every family until the time is over. Raises `Invalid`, `OSError`."""
    loop, until = asyncio.get_running_loop(), time.perf_counter() + seconds
    families = [Family(credentials, token, until) for token in tokens]
    for family in families:
        await loop.create_connection(functools.partial(_itself, family), "127.0.0.1", port)
    await asyncio.gather(*(family.done for family in families))
    return families


def _main(port: str, file: str, families: str, seconds: str, client: str, secret: str) -> None:
    path = Path(file)
    tokens: list[str | None] = [*path.read_text().split()] if path.exists() else [None] * int(families)
    began = time.perf_counter()
    done = uvloop.run(run(int(port), tokens, float(seconds), {"client_id": client, "client_secret": secret}))
    took = time.perf_counter() - began
    path.write_text("\n".join(str(family.token) for family in done))
    print(json.dumps({"rotations": sum(family.rotations for family in done), "seconds": took}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
