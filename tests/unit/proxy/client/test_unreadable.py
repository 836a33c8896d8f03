"""proxy.client.unreadable: why a stream cannot be read, in the words that client and operator get."""

import pytest
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from sidecar.core.causes import Cause, Fault
from sidecar.core.reasons import Reason
from sidecar.proxy.client.unreadable import Unreadable, mistake_in, reason_of


def test_a_cause_is_told_only_with_its_own_reason() -> None:
    fault = Fault(Cause.HTTP2_PRIOR_KNOWLEDGE)
    fitting = Unreadable(Reason.MALFORMED_REQUEST, fault)
    assert fitting.known == fault
    assert fitting.detail is not None
    assert fitting.detail[0].isupper()
    assert fitting.detail.endswith(".")
    for other in (Unreadable(Reason.HEADERS_TOO_LARGE, fault), Unreadable(Reason.MALFORMED_REQUEST)):
        assert (other.known, other.detail) == (None, None)


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (LineTooLong(b"GET /aaa", 100), Reason.REQUEST_LINE_TOO_LONG),
        (LineTooLong(b"X: aaa", 200), Reason.HEADERS_TOO_LARGE),
        (BadHttpMessage("no"), Reason.MALFORMED_REQUEST),
        (ValueError(), Reason.MALFORMED_REQUEST),
    ],
)
def test_an_exception_of_the_parser_has_a_reason(exc: Exception, reason: Reason) -> None:
    assert reason_of(exc, 100) is reason


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Cause.HTTP2_PRIOR_KNOWLEDGE),
        (b"\x16\x03\x01\x02\x00\x01", Cause.TLS_TO_PLAIN_PORT),
        ("GET /ä HTTP/1.1\r\n".encode(), Cause.TARGET_NOT_ENCODED),
        (b"GET / HTTP/9.9\r\n", None),
    ],
)
def test_known_mistakes_of_clients_are_named(data: bytes, cause: Cause | None) -> None:
    found = mistake_in(data)
    assert (found and found.cause) is cause
