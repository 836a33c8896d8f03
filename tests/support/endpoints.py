"""The endpoints of a configuration, called without a network: a store in memory, and a clock that the test moves."""

import asyncio
import contextlib
import math
from collections.abc import Iterator
from typing import Any

from sidecar.assembly.endpoints import endpoints
from sidecar.assembly.keys import admission_rules, token_rules
from sidecar.assembly.living import living
from sidecar.config.settings import Settings
from sidecar.core.events import Event
from sidecar.core.ports import StoreUnavailable
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.core.revocations import RevocationView
from sidecar.stores.memory import MemoryStore
from tests.support.process import configuration

NOW = 1_800_000_000.0


class Away(MemoryStore):
    """A store that does not answer while it is `away`."""

    away = False

    async def get(self, key: str) -> str | None:
        if self.away:
            raise StoreUnavailable("no connection")
        return await super().get(key)


class Called:
    """`events` is all that was emitted; `cookies` are kept as a browser keeps them."""

    def __init__(self, **sections: Any) -> None:
        self.now = NOW
        self.events: list[Event] = []
        self.cookies: dict[str, str] = {}
        view = RevocationView(5)
        view.confirm(math.inf)
        self.store = Away(clock=lambda: self.now, emit=self.events.append)
        self.living = living(
            self.store, view, emit=self.events.append, clock=lambda: self.now, monotonic=lambda: self.now
        )
        settings = Settings.model_validate(configuration("http://127.0.0.1:1", **sections))
        self.rules = token_rules(settings.tokens)
        admission = admission_rules(settings, self.rules.ring)
        self.endpoints, _ = endpoints(settings, self.rules, admission, self.living)

    def call(self, method: str, path: str, query: str = "", body: bytes = b"", **headers: str) -> Reply:
        """The reply of an endpoint; a cookie that it sets is sent from then on."""
        fields = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        request = EndpointRequest(method, path, query, tuple(fields.items()), body, "10.0.0.1")
        reply = asyncio.run(self.endpoints[path](request))  # type: ignore[arg-type]  # they are coroutine functions
        for name, value in reply.headers:
            if name == "Set-Cookie":
                cookie, _, content = value.partition(";")[0].partition("=")
                self.cookies[cookie] = content
        return reply


@contextlib.contextmanager
def called(**sections: Any) -> Iterator[Called]:
    """The endpoints, whose threads end afterwards."""
    made = Called(**sections)
    with contextlib.closing(made.living):
        yield made
