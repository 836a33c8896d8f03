"""proxy.upstream.server: what is remembered of an API server that failed."""

from typing import Any

import pytest

from sidecar.core.causes import Cause, Fault
from sidecar.proxy.upstream.server import PASSED_OVER, UpstreamServer, authority_of

NEVER: Any = None


@pytest.mark.parametrize(
    ("cause", "connecting"),
    [(Cause.REFUSED, True), (Cause.CONNECT_TIMEOUT, True), (Cause.NO_ANSWER, False), (Cause.CUT_SHORT, False)],
)
def test_a_connection_ends_a_fault_of_connecting_only(cause: Cause, connecting: bool) -> None:
    server = UpstreamServer(NEVER)
    server.failed(Fault(cause))
    server.reached()
    assert (server.fault is None) == connecting
    assert server.failing, "a proper response is still due"


def test_a_proper_response_ends_everything() -> None:
    server = UpstreamServer(NEVER)
    server.failed(Fault(Cause.NO_ANSWER))
    server.failures, server.pause, server.passed_over_until = 2, 8.0, 100.0
    assert repr(server) == "<UpstreamServer no_answer, 0 exchanges>"
    server.recovered()
    assert (server.fault, server.failing, server.failures, server.pause) == (None, False, 0, PASSED_OVER[0])
    assert server.health("http://a:1", now=50.0).skipped == 0.0, "an address that answers is not passed over"


def test_the_authority_of_an_address() -> None:
    assert authority_of("http://a:1/x") == b"a:1"
    assert authority_of("unix:///run/a.sock") == b"localhost"
