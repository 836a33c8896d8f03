"""The sections, in their order: a row here and a module beside it are all that a further one needs.

A section's `run` starts what it needs, goes round, and gives its findings; it raises `Invalid` when it cannot.
"""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.bench import Bench
from benchmarks.report import Findings
from benchmarks.sections import bulk, connections, first_sight, growth, latency, operations, refused, tokens, workloads


class Section(NamedTuple):
    """`name` is that on the command line."""

    name: str
    title: str
    run: Callable[[Bench], Findings]


SECTIONS = (
    Section("workloads", "Workloads", workloads.run),
    Section("refused", "Refused requests", refused.run),
    Section("first-sight", "Tokens seen for the first time", first_sight.run),
    Section("bulk", "Long bodies", bulk.run),
    Section("latency", "Added latency", latency.run),
    Section("connections", "Idle connections", connections.run),
    Section("tokens", "Tokens, refresh and revocation", tokens.run),
    Section("growth", "A million revocations", growth.run),
    Section("operations", "Workers, starts, reloads, rolls and drains", operations.run),
)
