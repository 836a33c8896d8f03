"""What the console shows of one worker."""

import os

from sidecar.assembly.app import App
from sidecar.ops.console.facts import StoreFacts, Tally, UpstreamFacts, WorkerFacts, tally_of
from sidecar.ops.console.recent import told


def tally(app: App) -> Tally:
    """The counts that the console's history needs."""
    return tally_of(app.metrics.counters())


def worker_facts(app: App) -> WorkerFacts:
    """Everything that the console shows of a worker. Takes well below a millisecond; the caller asks when somebody looks."""
    clients = app.connections
    return WorkerFacts(
        pid=os.getpid(),
        since=app.began,
        tally=tally(app),
        store=_store(app),
        upstreams=_upstreams(app),
        refusals=app.recent.refusals(),
        used=app.recent.clients({client.client_id: client for client in app.settings.clients}),
        in_flight=clients.in_flight,
        connections=clients.present,
        tunnels=len(app.tunnels),
        memory_held=clients.memory.held,
        memory_limit=clients.memory.limit,
    )


def _store(app: App) -> StoreFacts:
    now, condition = app.monotonic(), app.store.condition()
    staleness = app.view.staleness(now)
    return StoreFacts(
        up=app.store_up,
        known=app.view.usable(now),
        staleness=min(staleness, 1e9),  # it is infinite before the first answer, which JSON cannot hold
        revocations=len(app.view),
        skew=condition.skew,
        unreadable=condition.unreadable,
        fault=condition.fault,
        fault_of_writes=condition.fault_of_writes,
        changed_at=app.recent.store_changed_at,
    )


def _upstreams(app: App) -> list[UpstreamFacts]:
    """Each address with its last fault: the present one, or that of the last request that failed there."""
    found = []
    for url, exchanges, idle, failures, skipped, present in app.pool.health():
        at, fault = app.recent.upstreams.get(url, (None, ""))
        if present is not None and told(present) != fault:
            at, fault = None, told(present)  # no request has failed by it yet
        found.append(UpstreamFacts(url, exchanges, idle, failures, skipped, fault, at))
    return found
