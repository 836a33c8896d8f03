"""assembly.facts: what the console shows of a worker. Over sockets: tests/e2e/test_console.py."""

import asyncio
import json
import os
from collections.abc import AsyncIterator

import pytest

from sidecar.assembly.app import App
from sidecar.assembly.facts import tally, worker_facts
from sidecar.config.settings import Settings
from sidecar.core.causes import Cause, Fault
from sidecar.core.events import Decision, RequestDone, StoreChanged, TokenIssued
from sidecar.core.reasons import Reason
from sidecar.ops.console.facts import is_worker, packed
from tests.support.process import configuration

API = "http://127.0.0.1:1"


@pytest.fixture
async def app() -> AsyncIterator[App]:
    made = App(Settings.model_validate(configuration(API)), asyncio.get_running_loop(), now=lambda: 50.0)
    try:
        yield made
    finally:
        await made.close()


async def test_a_worker_that_has_just_begun_can_be_sent(app: App) -> None:
    facts = worker_facts(app)
    assert is_worker(json.loads(json.dumps(packed(facts), allow_nan=False)))
    assert (facts.pid, facts.since, facts.refusals, facts.used) == (os.getpid(), 50.0, [], {})
    assert (facts.store.up, facts.store.known, facts.store.changed_at) == (False, False, None)
    assert [upstream.url for upstream in facts.upstreams] == [API]


async def test_events_show_up(app: App) -> None:
    app.emit(StoreChanged(up=True, detail=""))
    app.emit(TokenIssued("client_credentials", "reporting", "x"))
    app.emit(TokenIssued("client_credentials", "removed", "y"))
    fault = Fault(Cause.REFUSED, "", API)
    done = RequestDone(Decision.ADMITTED, 502, 0.1, None, fault.reason, "GET", "/", "reporting", "10.0.0.1", fault)
    app.emit(done)
    app.emit(done._replace(decision=Decision.REFUSED, reason=Reason.EXPIRED, fault=None))
    facts = worker_facts(app)
    assert (facts.store.up, facts.store.changed_at) == (True, 50.0)
    assert facts.used == {"reporting": 50.0}
    assert [each.reason for each in facts.refusals] == ["expired", "upstream_unreachable"]
    assert facts.upstreams[0].fault.startswith("refused: nothing listens")
    assert facts.upstreams[0].fault_at == 50.0
    app.pool._upstreams[0].fault = Fault(Cause.NO_ROUTE)
    (later,) = worker_facts(app).upstreams
    assert later.fault.startswith("no_route: ")
    assert later.fault_at is None
    assert tally(app).failures == {"upstream upstream_unreachable": 1, "protected expired": 1}
