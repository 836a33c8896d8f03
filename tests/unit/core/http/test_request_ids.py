"""The id of a request: found wherever it stands, in any spelling, and never a text that does not belong into a log."""

import pytest

from sidecar.core.http.request_ids import request_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], None),
        (["Host: a"], None),
        (["X-Request-Id: abc-1"], "abc-1"),
        (["Host: a", "x-request-ID:abc-1 ", "Accept: */*"], "abc-1"),
        (["Host: a", "X-Request-Id: \t abc-1"], "abc-1"),
        (["X-Request-Id: first", "X-Request-Id: second"], "first"),
        ([TRACEPARENT], TRACE),
        ([TRACEPARENT, "X-Request-Id: abc-1"], "abc-1"),
        (["X-Request-Id: " + "a" * 128], "a" * 128),
        (["X-Request-Id: " + "a" * 129], None),
        (["X-Request-Id: two words"], None),
        (["X-Request-Id: \x1b[31m"], None),
        (["X-Request-Id: caf\xe9"], None),
        (["X-Request-Id:"], None),
        (["X-Not-X-Request-Id: abc"], None),
        (["Cookie: x-request-id: abc"], None),
        (["traceparent: 00-xyz-1-01"], None),
    ],
    ids=repr,
)
@pytest.mark.parametrize("end", ["", "\r\n\r\n"])
def test_it_is_found(lines: list[str], found: str | None, end: str) -> None:
    assert request_id(("\r\n".join(lines) + end).encode("latin-1")) == found
