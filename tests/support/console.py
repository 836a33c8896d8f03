"""A console with an hour of traffic behind it: the real pages, with facts that a test can choose."""

import asyncio
import random
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from sidecar.ops.console.facts import (
    CertificateFacts,
    ClientFacts,
    ConfigurationFacts,
    Facts,
    KeyFacts,
    Refusal,
    Setting,
    StoreFacts,
    Tally,
    UpstreamFacts,
    WorkerFacts,
)
from sidecar.ops.console.history import History, Minute
from sidecar.ops.console.web import Console, Source

NOW: Final = 1_795_920_432.0  # 2026-11-29T02:47:12Z
DAY: Final = 86400.0
STORE = StoreFacts(
    up=True, known=True, staleness=0.4, revocations=1284, skew=0.1, unreadable=0, changed_at=NOW - 3 * DAY
)
UPSTREAMS = [
    UpstreamFacts("http://10.0.4.17:8080", 6, 11, 0, 0.0),
    UpstreamFacts(
        "http://10.0.4.18:8080",
        0,
        0,
        0,
        3.2,
        "refused: nothing listens at upstream.url: the connection was refused",
        NOW - 74,
    ),
]


def refusals() -> list[Refusal]:
    """The last ones of a night."""
    given: list[tuple[float, int, str, str, str, str, dict[str, Any]]] = [
        (4, 401, "protected", "expired", "GET", "/orders/8231", {"client_id": "reporting"}),
        (9, 403, "protected", "insufficient_scope", "DELETE", "/orders/8190", {"client_id": "shop", "user": "anna"}),
        (17, 401, "protected", "missing_token", "GET", "/orders", {}),
        (
            74, 502, "upstream", "upstream_unreachable", "GET", "/orders/8227",
            {
                "client_id": "billing", "cause": "refused", "detail": "nothing listens at upstream.url: the connection was refused",
                "upstream": "http://10.0.4.18:8080",
            },
        ),
        (81, 401, "protected", "expired", "GET", "/orders/8231", {"client_id": "reporting"}),
        (140, 401, "token", "bad_client_secret", "POST", "/oauth/token", {"client_id": "warehouse"}),
        (152, 401, "token", "bad_client_secret", "POST", "/oauth/token", {"client_id": "warehouse"}),
        (260, 400, "protected", "ambiguous_path", "GET", "/orders/..%2fadmin", {}),
        (391, 401, "protected", "revoked", "PUT", "/orders/8021", {"client_id": "shop", "user": "otto"}),
        (644, 403, "protected", "denied_by_route", "GET", "/internal/metrics", {"client_id": "reporting"}),
    ]  # fmt: skip
    peers = ("10.0.9.21", "10.0.9.34", "203.0.113.7", "10.0.9.12")
    return [
        Refusal(NOW - ago, status, plane, reason, method, path, peers[index % 4], **more)
        for index, (ago, status, plane, reason, method, path, more) in enumerate(given)
    ]


def worker(pid: int, tally: Tally | None = None, **changes: Any) -> WorkerFacts:
    """A worker that fares well, but for `changes`."""
    good = WorkerFacts(
        pid=pid,
        since=NOW - 3 * DAY,
        tally=tally or Tally({}, {}),
        store=STORE,
        upstreams=UPSTREAMS[:1],
        refusals=[],
        used={"reporting": NOW - 12, "shop": NOW - 40, "billing": NOW - 3700},
        in_flight=3,
        connections=41,
        tunnels=1,
        memory_held=9_400_000,
        memory_limit=141_000_000,
    )
    return replace(good, **changes)


def facts(**changes: Any) -> Facts:
    """A sidecar with two workers that fares well, but for `changes`."""
    configuration = ConfigurationFacts(
        file="/etc/sidecar/sidecar.yaml",
        digest="8c1f04be92d7",
        read_at=NOW - 2 * DAY,
        tried_at=NOW - 2 * DAY,
        faults=[],
        applied=["clients: added warehouse"],
        at_restart=[],
        sections={
            "listen": [Setting("listen.address", "0.0.0.0:3030", changed=False)],
            "admin": [
                Setting("admin.listen", "0.0.0.0:9464", changed=True),
                Setting("admin.token", "••••••••", changed=True),
            ],
            "store": [
                Setting("store.url", "rediss+sentinel://redis-0:26379,redis-1:26379/main", changed=True),
                Setting("store.max_staleness", "5s", changed=False),
            ],
        },
    )
    good = Facts(
        now=NOW,
        version="0.1.0",
        python="3.13.1",
        host="orders-7d9c4b8f6-x2x9k",
        pid=1,
        since=NOW - 3 * DAY,
        public="https://0.0.0.0:3030",
        admin="http://0.0.0.0:9464",
        draining=False,
        ready=True,
        checks={"workers": "ok", "store": "ok", "store_writes": "ok", "upstream": "ok", "draining": "ok"},
        wanted=2,
        replaced={},
        cannot_start="",
        store="rediss+sentinel://redis-0:26379,redis-1:26379/main",
        max_staleness=5.0,
        configuration=configuration,
        keys=[
            KeyFacts("2026-12", "ES256", "signs", NOW - 30 * DAY, None),
            KeyFacts("2026-09", "ES256", "retired", None, NOW - 30 * DAY),
        ],
        keys_lapsed=False,
        certificates=[
            CertificateFacts("tls.certificate", "/etc/sidecar/tls/tls.crt", NOW + 61 * DAY),
            CertificateFacts("upstream.tls.ca", "/etc/sidecar/api-ca.pem", NOW + 800 * DAY),
        ],
        clients=[
            ClientFacts("reporting", "Reporting", "client_credentials", "client_secret_basic", disabled=False, used=NOW - 12),
            ClientFacts("shop", "", "authorization_code, refresh_token", "none", disabled=False, used=NOW - 40),
            ClientFacts("billing", "", "client_credentials", "secret", disabled=False, used=NOW - 3700),
            ClientFacts("warehouse", "Warehouse", "client_credentials", "key", disabled=True, used=None),
        ],
        workers=[worker(41), worker(42)],
    )  # fmt: skip
    return replace(good, **changes)


def troubled() -> Facts:
    """The same, in a night worth a picture."""
    return facts(
        workers=[worker(41, refusals=refusals(), upstreams=UPSTREAMS), worker(42, upstreams=UPSTREAMS)],
        replaced={"died": 1},
        certificates=[
            CertificateFacts("tls.certificate", "/etc/sidecar/tls/tls.crt", NOW + 9.4 * DAY),
            CertificateFacts("upstream.tls.ca", "/etc/sidecar/api-ca.pem", NOW + 800 * DAY),
        ],
    )


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def an_hour() -> tuple[History, dict[int, Tally]]:
    """An hour of a busy API, whose second server went away a minute ago; and the counts of its workers."""
    chance, clock = random.Random(7), Clock(3600.0)  # noqa: S311  for a picture
    history = History(clock)
    requests: dict[str, int] = {"admitted 200": 0, "refused 401": 0}
    failures: dict[str, int] = {}

    def some(key: str, expected: float) -> None:
        count = int(expected) + (chance.random() < expected % 1)
        failures[key] = failures.get(key, 0) + count
        requests["refused 401"] += count

    for step in range(356):
        clock.now += 10
        busy = 0.55 + 0.35 * abs((step % 240) - 120) / 120
        requests["admitted 200"] += int(chance.gauss(46, 7) * busy)
        some("protected expired", 1.3 * busy)
        some("protected missing_token", 0.5)
        some("protected insufficient_scope", 0.22)
        some("token bad_client_secret", 1.8 if 150 < step < 172 else 0.05)
        some("protected ambiguous_path", 0.06)
        some("protected revoked", 0.05)
        some("upstream upstream_unreachable", 2.4 if step > 348 else 0)
        history.add({41: Tally(dict(requests), dict(failures))})
    return history, {41: Tally(dict(requests), dict(failures))}


def minutes() -> list[Minute]:
    """That hour, minute by minute."""
    return an_hour()[0].minutes()


class Failed(Exception):
    """The console met a defect."""


@contextmanager
def served(shown: Facts, *, token: str | None = None, hour: bool = True) -> Iterator[str]:
    """The address of a console that shows these facts."""
    history, tallies = an_hour() if hour else (History(Clock()), {})
    shown = replace(shown, workers=[replace(w, tally=tallies.get(w.pid, Tally({}, {}))) for w in shown.workers])

    async def source(_: object) -> Facts:
        return shown

    async def none() -> Mapping[int, Tally]:
        return tallies

    async def ready() -> tuple[bool, Mapping[str, str]]:
        return shown.ready, shown.checks

    def failed(defect: Exception) -> None:
        raise Failed from defect

    found = Source(source, none, lambda: token, lambda: False, failed, history)
    console = Console(found, ready, beyond=False, monotonic=lambda: 0.0)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        loop = asyncio.new_event_loop()
        over = asyncio.Event()

        async def serve(begun: threading.Event) -> None:
            app = web.Application()
            console.add_to(app)
            runner = web.AppRunner(app, shutdown_timeout=1)
            await runner.setup()
            await web.SockSite(runner, sock).start()
            begun.set()
            await over.wait()
            await runner.cleanup()

        begun = threading.Event()
        thread = threading.Thread(target=lambda: loop.run_until_complete(serve(begun)), daemon=True)
        thread.start()
        assert begun.wait(10)
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join(10)
            loop.close()
