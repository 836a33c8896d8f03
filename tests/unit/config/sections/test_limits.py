"""The section `limits`."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import assert_refused, changed, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a tiny limit": (changed(limits__headers="1B"), "limits.headers: "),
    "headers beyond reason": (changed(limits__headers="1048577B"), "limits.headers: "),
    "no connection": (changed(limits__connections=0), "limits.connections: "),
    "no request": (changed(limits__in_flight=0), "limits.in_flight: "),
    "fewer than no tunnels": (changed(limits__tunnels=-1), "limits.tunnels: "),
    "no body": (changed(limits__body="0B"), "limits.body: "),
    "a short request line": (changed(limits__request_line="255B"), "limits.request_line: "),
    "a request line beyond reason": (changed(limits__request_line="1048577B"), "limits.request_line: "),
    "few fields": (changed(limits__header_count=7), "limits.header_count: "),
    "fields beyond reason": (changed(limits__header_count=1001), "limits.header_count: "),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


LEAST = {
    "connections": 1,
    "in_flight": 1,
    "tunnels": 0,
    "body": "1B",
    "request_line": "256B",
    "headers": "1KiB",
    "header_count": 8,
}
MOST = {"request_line": "1MiB", "headers": "1MiB", "header_count": 1000}


def test_the_least_and_the_most_are_accepted(file: Path) -> None:
    least, most = (settings_of(file, changed(limits=limits)).limits for limits in (LEAST, MOST))
    assert (least.connections, least.in_flight, least.tunnels, least.body) == (1, 1, 0, 1)
    assert (least.request_line, least.headers, least.header_count) == (256, 1024, 8)
    assert (most.request_line, most.headers, most.header_count) == (1024**2, 1024**2, 1000)
