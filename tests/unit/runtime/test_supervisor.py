"""runtime.supervisor: what the parent says for its workers."""

import asyncio
import socket
from typing import Any

import uvloop

from sidecar.config.settings import Settings
from sidecar.ops.metrics import Metrics
from sidecar.ops.snapshots import Readings
from sidecar.runtime.sockets import Listener
from sidecar.runtime.supervisor import Supervisor
from tests.support.process import configuration

SNAPSHOT = Metrics(
    lambda: Readings({"sidecar_token_cache_hits_total": {"": 4}}, {"sidecar_tunnels": {"": 3}})
).snapshot()


def test_a_worker_that_ends_during_a_scrape_counts_once() -> None:
    """Its counters are among those of the past by then."""

    async def main() -> None:
        with socket.socket() as public:
            supervisor = Supervisor(Settings.model_validate(configuration("http://127.0.0.1:1")), Listener(public))

            class Ending:
                async def snapshot(self) -> dict[str, Any]:
                    supervisor._past.add(SNAPSHOT)
                    supervisor._children.clear()
                    return SNAPSHOT

            supervisor._children[0] = Ending()  # type: ignore[assignment]
            text = (await supervisor._metrics()).decode()
            assert "\nsidecar_token_cache_hits_total 4.0\n" in text
            assert "\nsidecar_workers 0.0\n" in text

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
