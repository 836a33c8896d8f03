"""Sizes, counts and times for both sides, set by the operator."""

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientTimeouts(NamedTuple):
    """In seconds: for a request's head, and without progress."""

    request_header: float
    idle: float


class ClientLimits(NamedTuple):
    """Counts (`connections`, `in_flight`, `header_count`) and bytes. `memory` is what a worker may hold for its clients, and
    `each_connection` what a connection costs of it."""

    connections: int
    in_flight: int
    request_line: int
    headers: int
    header_count: int
    memory: int
    each_connection: int


class ClientRules(NamedTuple):
    """What applies to the connections of clients. `end_with_token`: streams end together with their token."""

    timeouts: ClientTimeouts
    limits: ClientLimits
    trusted_proxies: Sequence[Network] = ()
    end_with_token: bool = True


class PoolLimits(NamedTuple):
    """In seconds: `idle` limits how long an unused connection is kept, `max_age` how long a connection is used at all."""

    max_connections: int
    idle: float
    max_age: float


class UpstreamTimeouts(NamedTuple):
    """In seconds: to connect, from the end of the request to the head of the response, between two reads of its body."""

    connect: float
    response: float
    stream: float
