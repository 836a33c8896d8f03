"""`sidecar demo`: runs the whole product on loopback in one process, and prints commands to try it with.

The steps are data. `demo` prints each step as a curl command. `demo --check` runs the same steps over real sockets and ticks
them off. So the printed commands are the ones that are checked.
"""

import asyncio
import json
import re
import secrets
import shlex
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import click
from aiohttp import web

from sidecar.config.settings import Address, Settings
from sidecar.demo_api import orders_api
from sidecar.runtime import signals
from sidecar.runtime.ending import EndedBadly
from sidecar.runtime.reloading import Reloader
from sidecar.runtime.sockets import Listener, bind, url_of
from sidecar.runtime.worker import Worker, assert_c_parser, run, start_own_admin

CLIENT_ID: Final = "demo"
_TOKEN: Final = "$TOKEN"  # noqa: S105  the shell variable of the printed commands
_PICK_TOKEN: Final = r"""sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p'"""  # noqa: S105  a command
_READY_WITHIN: Final = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to a step: its status and its body, as text and decoded when it is JSON."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        """The decoded body, or `None` when the body is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Step:
    """One request, what it demonstrates, and a check that the answer shows it."""

    title: str
    url: str
    shows: Callable[[Answer], bool]
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    filter: str = ""
    keeps_token: bool = False

    def command(self) -> str:
        """The request as a shell command line."""
        parts = ["curl", "-s" if self.filter or self.keeps_token else "-si"]
        if self.method not in ("GET", "POST"):
            parts += ["-X", self.method]
        parts.append(f'"{self.url}"' if _TOKEN in self.url else shlex.quote(self.url))
        for name, value in self.headers.items():
            parts += ["-H", f'"{name}: {value}"']
        for name, value in self.form.items():
            parts += ["-d", f'"{name}={value}"']
        line = " ".join(parts)
        if self.keeps_token:
            return f"TOKEN=$({line} | {_PICK_TOKEN}); echo $TOKEN"
        return f"{line} | {self.filter}" if self.filter else line


def steps(public: str, admin: str, secret: str) -> list[Step]:
    """The steps of the tour: a refusal, a token, admitted requests, a revocation, another refusal, and the metrics."""
    bearer = {"Authorization": f"Bearer {_TOKEN}"}
    client = {"client_id": CLIENT_ID, "client_secret": secret}
    return [
        Step(
            "Without a token the API is not reached: 401, and why",
            f"{public}/orders",
            lambda a: a.status == 401 and a.json["reason"] == "missing_token",
        ),
        Step(
            "A client gets a token",
            f"{public}/oauth/token",
            lambda a: a.status == 200 and a.json["token_type"] == "Bearer",  # noqa: S105  the name of a type
            method="POST",
            form={"grant_type": "client_credentials", **client},
            keeps_token=True,
        ),
        Step(
            "With it the API answers; the echo shows who called, the forged identity and the token are gone",
            f"{public}/orders/1",
            _identity_is_ours,
            headers={**bearer, "X-Auth-Client-Id": "forged"},
        ),
        Step("What the API answers passes through: 204", f"{public}/orders/2", _status(204), "DELETE", bearer),
        Step("… 404", f"{public}/orders/999", _status(404), headers=bearer),
        Step("… and 500", f"{public}/broken", _status(500), headers=bearer),
        Step(
            "The token may also stand in the URL; the API does not see it there",
            f"{public}/orders?page=2&access_token={_TOKEN}",
            lambda a: a.status == 200 and a.json["received"]["target"] == "/orders?page=2",
        ),
        Step("A public route needs none", f"{public}/health", _status(200)),
        Step(
            "The client revokes its token",
            f"{public}/oauth/revoke",
            _status(200),
            method="POST",
            form={"token": _TOKEN, **client},
        ),
        Step(
            "From now on the token is refused, in every process",
            f"{public}/orders/1",
            lambda a: a.status == 401 and a.json["reason"] == "revoked",
            headers=bearer,
        ),
        Step(
            "Each refusal was counted by its reason",
            f"{admin}/metrics",
            lambda a: all(_counted(a.text, reason) for reason in ("missing_token", "revoked")),
            filter="grep -E 'sidecar_(auth_failures|requests|tokens_[a-z]+)_total.* [1-9]'",
        ),
    ]


def _status(expected: int) -> Callable[[Answer], bool]:
    return lambda answer: answer.status == expected


def _identity_is_ours(answer: Answer) -> bool:
    headers = [(name.lower(), value) for name, value in answer.json["received"]["headers"]]
    identity = [value for name, value in headers if name == "x-auth-client-id"]
    return answer.status == 200 and identity == [CLIENT_ID] and "authorization" not in dict(headers)


def _counted(metrics: str, reason: str) -> bool:
    return bool(re.search(rf'sidecar_auth_failures_total{{[^}}]*reason="{reason}"[^}}]*}} [1-9]', metrics))


def demo_settings(listen: Address, admin: Address, upstream: str, store: str, secret: str) -> Settings:
    """The demo's settings, validated from the same form as the YAML file."""
    return Settings.model_validate(
        {
            "listen": str(listen),
            "admin": {"listen": str(admin)},
            "upstream": {"url": upstream},
            "store": {"url": store},
            "tokens": {
                "issuer": "http://localhost/demo",
                "audience": "orders",
                "signing_keys": [{"kid": "demo", "alg": "HS256", "secret": secrets.token_hex(32)}],
            },
            "clients": [
                {
                    "client_id": CLIENT_ID,
                    "client_name": "Demo",
                    "client_secret": secret,
                    "grant_types": ["client_credentials"],
                    "scope": "orders:read orders:write",
                    "roles": ["analyst"],
                }
            ],
            "routes": [
                {"path": "/health", "access": "public"},
                {"path": "/orders/**", "methods": ["GET"], "scope": "orders:read"},
            ],
        }
    )


def demo(*, check: bool, store: str, port: int, admin_port: int, open_console: bool = False) -> int:
    """Run the demo and return the exit code. With `check`, run its steps instead of printing them. `open_console`: show the
    console in a browser. Raises `StartError`."""
    assert_c_parser()
    outcome: list[int] = []
    run(_demo(outcome, check=check, store=store, port=port, admin_port=admin_port, open_console=open_console))
    return outcome[0] if outcome else 0


async def _demo(outcome: list[int], *, check: bool, store: str, port: int, admin_port: int, open_console: bool) -> None:
    secret = secrets.token_urlsafe(24)
    async with AsyncExitStack() as stack:
        ports = (0, port, admin_port)
        api, public, admin = (stack.enter_context(bind(Address("127.0.0.1", number))) for number in ports)
        listen, admin_listen = Address(*public.getsockname()), Address(*admin.getsockname())
        settings = demo_settings(listen, admin_listen, url_of(api), store, secret)
        upstream = web.AppRunner(orders_api(), access_log=None, handle_signals=False)
        await upstream.setup()
        stack.push_async_callback(upstream.cleanup)
        await web.SockSite(upstream, api).start()
        worker = Worker(settings, Listener(public))
        signals.heed(worker.stop)
        runner = await start_own_admin(worker, Listener(admin), Reloader(settings, worker.apply))
        stack.push_async_callback(runner.cleanup)
        tour = steps(url_of(public), url_of(admin), secret)

        async def guide() -> None:
            if await _ready(url_of(admin)):
                if open_console:
                    await _open(url_of(admin))
                outcome.append(await _check(tour) if check else _print(tour, url_of(public), url_of(admin)))
            else:
                click.echo("The sidecar did not become ready: is the store reachable?", err=True)
                outcome.append(1)
            if check or outcome == [1]:
                worker.stop()

        async def work() -> None:
            try:
                await worker.run()
            except EndedBadly:
                outcome[:] = [1]
            guiding.cancel()

        async with asyncio.TaskGroup() as group:
            guiding = group.create_task(guide())
            group.create_task(work())


async def _ready(admin: str) -> bool:
    async with aiohttp.ClientSession() as session:
        deadline = asyncio.get_running_loop().time() + _READY_WITHIN
        while asyncio.get_running_loop().time() < deadline:
            async with session.get(f"{admin}/readyz") as response:
                if response.status == 200:
                    return True
            await asyncio.sleep(0.05)
    return False


async def _open(console: str) -> None:
    if not await asyncio.to_thread(webbrowser.open, console):
        click.echo(f"No browser was found: open {console} yourself.", err=True)


def _print(tour: list[Step], public: str, console: str) -> int:
    click.echo(f"The sidecar guards a small orders API at {public}. Paste these into another terminal:\n")
    for number, step in enumerate(tour, 1):
        click.secho(f"# {number}. {step.title}", fg="cyan")
        click.echo(step.command() + "\n")
    click.echo(f"The console shows what happens: {console}\n\nCtrl-C stops it.")
    return 0


async def _check(tour: list[Step]) -> int:
    token, failed = "", 0
    async with aiohttp.ClientSession() as session:
        for step in tour:
            answer = await _perform(session, step, token)
            if step.keeps_token and answer.status == 200:
                token = answer.json["access_token"]
            good = _holds(step, answer)
            failed += not good
            click.secho(("✓ " if good else "✗ ") + step.title, fg="green" if good else "red")
            if not good:
                click.echo(f"  got {answer.status}: {answer.text[:300]}")
    click.echo(f"{len(tour) - failed} of {len(tour)} steps passed")
    return 1 if failed else 0


async def _perform(session: aiohttp.ClientSession, step: Step, token: str) -> Answer:
    headers = {name: value.replace(_TOKEN, token) for name, value in step.headers.items()}
    form = {name: value.replace(_TOKEN, token) for name, value in step.form.items()}
    url = step.url.replace(_TOKEN, token)
    try:
        async with session.request(step.method, url, headers=headers, data=form or None) as response:
            return Answer(response.status, await response.text())
    except aiohttp.ClientError as exc:
        return Answer(0, str(exc))


def _holds(step: Step, answer: Answer) -> bool:
    try:
        return step.shows(answer)
    except (KeyError, TypeError):  # the body lacks a member that the step expects
        return False
