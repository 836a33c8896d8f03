"""core.capacity: more descriptors or memory than there is is never planned with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.capacity import LEAST_MEMORY, affordable, fitting, for_clients, price, refused_beyond


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


@given(st.integers(1, 10**6), st.integers(LEAST_MEMORY, 2**40), st.booleans())
def test_connections_take_no_more_than_half_of_the_memory(wanted: int, memory: int, secure: bool) -> None:
    each = price(secure=secure)
    clients = fitting(wanted, memory, each)
    assert 1 <= clients <= wanted
    assert clients == 1 or (clients + refused_beyond(clients)) * each <= memory // 2


def test_some_memory_is_left_for_everything_else_and_some_is_always_planned_with() -> None:
    assert for_clients(100 * LEAST_MEMORY) == 75 * LEAST_MEMORY
    assert for_clients(0) == for_clients(-1) == LEAST_MEMORY
