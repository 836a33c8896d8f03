"""assembly.readings: what the parts of a worker say of themselves."""

import pytest

from sidecar.assembly.living import Living
from sidecar.assembly.readings import of_keys, of_living, of_store, together
from sidecar.core.jose.keys import KeyRing, SigningKey, Window
from sidecar.core.ports import StoreCondition
from sidecar.core.reasons import Refused
from sidecar.ops.catalogue import key
from sidecar.ops.snapshots import Readings

SECRET = "0123456789abcdef0123456789abcdef"


def ring(*windows: Window) -> KeyRing:
    return KeyRing(SigningKey.hmac(f"k{place}", "HS256", SECRET, window) for place, window in enumerate(windows))


def test_the_key_that_signs_is_told_apart_and_windows_are_shown() -> None:
    keys = ring(Window(200.0), Window(None, 300.0))
    before, after = (of_keys(keys, {}, now).gauges["sidecar_signing_key_signs"] for now in (100.0, 200.0))
    assert before == {key("HS256", "k0"): False, key("HS256", "k1"): True}
    assert after == {key("HS256", "k0"): True, key("HS256", "k1"): False}
    gauges = of_keys(keys, {"listener": 7.0}, 100.0).gauges
    assert gauges["sidecar_signing_key_not_before_timestamp_seconds"] == {"k0": 200.0}
    assert gauges["sidecar_signing_key_not_after_timestamp_seconds"] == {"k1": 300.0}
    assert gauges["sidecar_certificate_expiry_timestamp_seconds"] == {"listener": 7.0}


def test_keys_that_are_all_out_of_their_windows_are_said_to_be() -> None:
    keys = ring(Window(None, 300.0))
    lapsed = [of_keys(keys, {}, now).gauges["sidecar_signing_keys_lapsed"][""] for now in (299.0, 300.0)]
    assert lapsed == [False, True]


def test_a_store_that_takes_no_writes() -> None:
    condition = StoreCondition(skew=-2.5, unreadable=3, fault_of_writes="a replica")
    gauges = of_store(condition, up=True, staleness=0.5, revocations=9).gauges
    assert {name.removeprefix("sidecar_"): values[""] for name, values in gauges.items()} == {
        "store_up": True,
        "store_writable": False,
        "store_clock_skew_seconds": -2.5,
        "store_unreadable_entries": 3,
        "revocation_feed_staleness_seconds": 0.5,
        "revocations": 9,
    }


async def test_the_queues_of_slow_hashes_are_apart(parts: Living) -> None:
    parts.passwords.limit = 0
    with pytest.raises(Refused):
        await parts.passwords.run(lambda: None, peer="a")
    counters, gauges = of_living(parts)
    assert counters["sidecar_slow_hashes_refused_total"] == {"client_secrets": 0, "passwords": 1}
    assert gauges["sidecar_slow_hashes"] == {"client_secrets": 0, "passwords": 0}
    assert gauges["sidecar_slow_hashes_limit"] == {"client_secrets": 16, "passwords": 0}


def test_parts_become_one() -> None:
    one, other = Readings({"a": {"": 1}}, {}), Readings({"b": {"": 2}}, {"g": {"": 3}})
    assert together(one, other) == Readings({"a": {"": 1}, "b": {"": 2}}, {"g": {"": 3}})
