"""core.capacity: more descriptors than there are is never planned with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.capacity import affordable, refused_beyond


@pytest.mark.parametrize(
    ("wanted", "upstream", "descriptors", "connections"),
    [
        (20_000, 1024, 1_000_000, 20_000),
        (20_000, 1024, 20_000, 16_860),
        (20_000, 1024, 1000, 437),
        (100, 1024, 1000, 100),
        (20_000, 1024, 3, 1),
    ],
)
def test_affordable(wanted: int, upstream: int, descriptors: int, connections: int) -> None:
    assert affordable(wanted, upstream, descriptors) == connections


@given(st.integers(1, 10**6), st.integers(1, 65535), st.integers(40, 10**6))
def test_it_fits(wanted: int, upstream: int, descriptors: int) -> None:
    clients = affordable(wanted, upstream, descriptors)
    clients += refused_beyond(clients)
    assert clients + min(upstream, descriptors // 2) <= descriptors
