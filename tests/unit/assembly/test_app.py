"""assembly.app: the parts of a worker, joined. Over sockets: tests/e2e/test_swapping_rules.py."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from sidecar.assembly.app import App
from sidecar.config.settings import Settings
from sidecar.core.events import StoreChanged
from sidecar.ops.catalogue import COUNTERS, GAUGES, HISTOGRAMS
from sidecar.ops.snapshots import is_snapshot
from tests.support.process import configuration


@pytest.fixture
async def app() -> AsyncIterator[App]:
    made = App(Settings.model_validate(configuration("http://127.0.0.1:1")), asyncio.get_running_loop())
    try:
        yield made
    finally:
        await made.close()


async def test_a_worker_that_has_just_begun_says_what_is_missing(app: App) -> None:
    ready = await app.readiness()
    assert ready["store"] == "the revocation view is stale"
    assert ready["upstream"] is not None
    assert ready["upstream"].startswith("the API server does not accept connections: ")
    assert (ready["store_writes"], ready["draining"]) == (None, None)
    app.connections.draining = True
    assert (await app.readiness())["draining"] == "the worker is going away"


async def test_events_reach_every_listener(app: App) -> None:
    assert app.readings().gauges["sidecar_store_up"] == {"": False}
    app.emit(StoreChanged(up=True, detail=""))
    assert app.readings().gauges["sidecar_store_up"] == {"": True}


async def test_every_metric_of_a_worker_is_known_to_the_catalogue(app: App) -> None:
    """And nearly all are there: the others are of the parent, or of what the settings do not have."""
    snapshot = app.metrics.snapshot()
    assert is_snapshot(snapshot)
    counters, gauges = ({family.name for family in part} for part in (COUNTERS, GAUGES))
    assert snapshot["counters"].keys() <= counters
    assert snapshot["gauges"].keys() <= gauges
    assert snapshot["histograms"].keys() == {family.name for family in HISTOGRAMS}
    assert counters - snapshot["counters"].keys() == {"sidecar_config_reloads_total", "sidecar_workers_replaced_total"}
    others = {name for name in gauges - snapshot["gauges"].keys() if not name.startswith("sidecar_config_")}
    assert others == {"sidecar_draining", "sidecar_workers_configured"}


async def test_settings_are_swapped_whole(app: App) -> None:
    before = app.rules
    app.use(app.prepare(app.settings.model_copy(update={"routes": ()})))
    assert (app.rules.generation, app.handler._rules) == (before.generation + 1, app.rules)
    assert app.settings.routes == ()


async def test_it_gives_back_what_its_parts_hold_and_twice_is_once(app: App) -> None:
    await app.close()
    with contextlib.suppress(RuntimeError):
        await app.living.passwords.run(lambda: None, peer="a")
        pytest.fail("the thread goes on")
