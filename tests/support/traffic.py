"""Clients of a sidecar that go on while something fails, and keep what they were told."""

import json
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

from tests.support.process import SECRET, Sidecar, get

CLIENT = {"client_id": "reporting", "client_secret": SECRET}


class Threads:
    """Work that goes on in threads from its beginning until its end."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)


class Traffic(Threads):
    """Asks with tokens that are valid and with tokens that are revoked meanwhile, and refreshes, until it is left.

    `bound`: so many seconds after a revocation was confirmed, no sidecar may admit the token. `faults` is what must not happen.
    """

    def __init__(self, sidecars: list[Sidecar], bound: float) -> None:
        super().__init__()
        self._sidecars = sidecars
        self._bound = bound
        self._revoked: list[tuple[str, float]] = []
        self._valid = [each.token() for each in sidecars]
        self.answers: Counter[tuple[str, int]] = Counter()
        self.faults: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(work,)) for work in (self._ask, self._revoke, self._refresh)
        ]

    def _run(self, work: "object") -> None:
        number = 0
        while not self._ended.is_set():
            try:
                work(self._sidecars[number % len(self._sidecars)], number)  # type: ignore[operator]
            except Exception as exc:  # noqa: BLE001  any of them fails the test
                self.faults.append(repr(exc))
                return
            number += 1
            self._ended.wait(0.02)

    def _ask(self, sidecar: Sidecar, number: int) -> None:
        status, body = self._call(sidecar, self._valid[number % len(self._valid)])
        self.answers["valid", status] += 1
        if status not in (200, 503):
            self.faults.append(f"a valid token got {status} {body}")
        for token, at in self._revoked[-20:]:
            asked = time.monotonic()
            status, body = self._call(sidecar, token)
            self.answers["revoked", status] += 1
            if status == 200 and asked > at + self._bound:
                self.faults.append(f"a token was admitted {asked - at:.1f} s after it was revoked")

    @staticmethod
    def _call(sidecar: Sidecar, token: str) -> tuple[int, str]:
        return get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}")

    def _revoke(self, sidecar: Sidecar, _: int) -> None:
        token = sidecar.token()
        status, body = get(f"{sidecar.public}/oauth/revoke", {"token": token, **CLIENT})
        self.answers["revoke", status] += 1
        if status == 200:
            self._revoked.append((token, time.monotonic()))
        elif status != 503:
            self.faults.append(f"a revocation got {status} {body}")

    def _refresh(self, sidecar: Sidecar, _: int) -> None:
        """One rotation after the other; a client tries again after 503. A token whose use a failed over Redis has forgotten may
        end its grant: then the client begins again."""
        status, body = get(f"{sidecar.public}/oauth/token", {"grant_type": "client_credentials", **REFRESHING})
        self.answers["grant", status] += 1
        while status == 200 and not self._ended.is_set():
            token = json.loads(body)["refresh_token"]
            status, body = self._rotated(sidecar, token)
            self._ended.wait(0.05)

    def _rotated(self, sidecar: Sidecar, token: str) -> tuple[int, str]:
        while True:
            form = {"grant_type": "refresh_token", "refresh_token": token, **REFRESHING}
            status, body = get(f"{sidecar.public}/oauth/token", form)
            self.answers["refresh", status] += 1
            if status != 503 or self._ended.wait(0.05):
                return status, body


REFRESHING = {"client_id": "refreshing", "client_secret": "refreshing-secret-of-a-client-0123"}
CLIENTS = [
    {"client_id": "reporting", "client_secret": SECRET, "grant_types": ["client_credentials"]},
    {**REFRESHING, "grant_types": ["client_credentials", "refresh_token"]},
]
"""The section `clients` that it needs."""
