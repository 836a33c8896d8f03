"""Limits are values: nothing that got them can change them for others."""

import pytest

from sidecar.proxy.limits import ClientLimits, ClientTimeouts, PoolLimits, UpstreamTimeouts

ALL = [ClientTimeouts(1, 2), ClientLimits(1, 2, 3, 4, 5, 6, 7), PoolLimits(1, 2, 3), UpstreamTimeouts(1, 2, 3)]


@pytest.mark.parametrize("limits", ALL)
def test_limits_do_not_change(limits: tuple[float, ...]) -> None:
    for field in limits._fields:  # type: ignore[attr-defined]  # they are named tuples
        with pytest.raises(AttributeError):
            setattr(limits, field, 0)
    assert list(limits) == list(range(1, len(limits) + 1))
