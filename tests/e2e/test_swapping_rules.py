"""The rules are swapped while requests flow: each request meets all of the old ones or all of the new ones."""

import asyncio
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from sidecar.config.settings import Client, Route, SigningKey
from tests.support.process import ISSUER
from tests.support.serving import Serving, serving
from tests.support.upstream import Upstream, reply, saying

KEYS: list[dict[str, Any]] = [{"kid": f"k{turn}", "alg": "HS256", "secret": str(turn) * 40} for turn in range(2)]


def rule(turn: int) -> dict[str, Any]:
    """Generation `turn`: one key, one client, one route that it may use, one host name for the API."""
    return {
        "routes": [
            {"path": f"/only/{turn}", "scope": f"scope:{turn}"},
            {"path": "/only/*", "access": "deny"},
        ],
        "clients": [
            {
                "client_id": f"client-{turn}",
                "client_secret": "secret",
                "grant_types": ["client_credentials"],
                "scope": f"scope:{turn}",
            }
        ],
    }


def sections(made: Serving, turn: int) -> dict[str, Any]:
    """The sections of a generation, as the settings hold them."""
    tokens = made.app.settings.tokens.model_copy(update={"signing_keys": (SigningKey.model_validate(KEYS[turn]),)})
    said = rule(turn)
    return {
        "tokens": tokens,
        "routes": tuple(map(Route.model_validate, said["routes"])),
        "clients": tuple(map(Client.model_validate, said["clients"])),
    }


async def test_no_request_meets_half_of_each(tmp_path: Path) -> None:
    """A token of generation 0 on its route gets 200 by the old rules and 401 `unknown_key` or 403 by the new ones. Half of each
    would be 403 `insufficient_scope`, or a token issued by the old client and signed by the new key."""
    with Upstream(saying(reply(200, b"{}"))) as upstream:
        tokens = {"issuer": ISSUER, "audience": "api", "signing_keys": KEYS[:1]}
        async with serving(tmp_path, upstream.url, tokens=tokens, **rule(0)) as made:
            bearer = []
            for turn in range(2):
                made.use(**sections(made, turn))
                bearer.append(made.issue(client_id=f"client-{turn}", scope=(f"scope:{turn}",), jti=f"j{turn}"))
            made.use(**sections(made, 0))
            seen: list[set[tuple[int, str | None]]] = [set(), set()]
            issued: set[tuple[int, str, str]] = set()
            stop = asyncio.Event()

            async def call(turn: int) -> None:
                session = requests.Session()
                while not stop.is_set():
                    seen[turn].add(await made.call(bearer[turn], f"/only/{turn}", session=session))

            async def obtain(turn: int) -> None:
                session = requests.Session()
                while not stop.is_set():
                    form = {
                        "grant_type": "client_credentials",
                        "client_id": f"client-{turn}",
                        "client_secret": "secret",
                    }
                    response = await asyncio.to_thread(session.post, f"{made.url}/oauth/token", data=form, timeout=10)
                    if response.status_code == 200:
                        token = response.json()["access_token"]
                        kid = jwt.get_unverified_header(token)["kid"]
                        issued.add((turn, kid, response.json()["scope"]))

            async with asyncio.TaskGroup() as group:
                for turn in range(2):
                    group.create_task(call(turn))
                    group.create_task(obtain(turn))
                for number in range(200):
                    made.use(**sections(made, number % 2))
                    await asyncio.sleep(0.005)
                stop.set()
            assert made.app.rules.generation >= 200
            # An unknown key is found before the route's scope is looked at; the route is found before the key.
            for turn in range(2):
                assert seen[turn] == {(200, None), (403, "denied_by_route")}
            assert issued == {(0, "k0", "scope:0"), (1, "k1", "scope:1")}


async def test_settings_that_cannot_be_used_change_nothing(tmp_path: Path, shared_upstream: Upstream) -> None:
    async with serving(tmp_path, shared_upstream.url) as made:
        token, rules = made.issue(), made.app.rules
        with pytest.raises(ValueError, match="no key can sign"):
            made.use(tokens=made.app.settings.tokens.model_copy(update={"signing_keys": ()}))
        assert made.app.rules is rules
        assert await made.call(token) == (200, None)


async def test_a_swap_forgives_nobody_who_failed(tmp_path: Path, shared_upstream: Upstream) -> None:
    """What is known of failures outlives the rules."""
    limited = {"failures_per_client_and_address": "2/1m"}
    async with serving(tmp_path, shared_upstream.url, throttling=limited) as made:
        form = {"grant_type": "client_credentials", "client_id": "reporting", "client_secret": "wrong"}

        async def fail() -> int:
            return (
                await asyncio.to_thread(requests.post, f"{made.url}/oauth/token", data=form, timeout=10)
            ).status_code

        statuses = [await fail() for _ in range(4)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        made.use()
        assert await fail() == 429
