"""The warnings of the configuration, and the signing keys."""

from pathlib import Path

import pytest
import yaml

from sidecar.config.load import load
from sidecar.core.jose.keys import KeyRing, SigningKey, Window
from sidecar.doctor.configuration import keys_finding, look, look_at_keys
from tests.support.process import configuration

DAY = 86400.0
NOW = 1_800_000_000.0


def ring(*windows: tuple[float | None, float | None]) -> KeyRing:
    """Keys k0, k1 … with windows in days from now."""

    def at(days: float | None) -> float | None:
        return None if days is None else NOW + days * DAY

    keys = (SigningKey.hmac(f"k{i}", "HS256", "s" * 32, Window(at(a), at(b))) for i, (a, b) in enumerate(windows))
    return KeyRing(keys)


KEYS: dict[str, tuple[KeyRing, str, str]] = {
    "for ever": (ring((None, None)), "ok", "k0 (HS256) signs"),
    "a successor": (ring((None, 3), (None, None)), "ok", "k0 (HS256) signs until 2027-01-18 08:00 UTC, then k1"),
    "one before it": (ring((3, None), (None, None)), "ok", "k1 (HS256) signs until 2027-01-18 08:00 UTC, then k0"),
    "ends soon": (ring((None, 3)), "warning", "no key signs from 2027-01-18 08:00 UTC on"),
    "ends later": (ring((None, 30)), "ok", "no key signs from 2027-02-14 08:00 UTC on"),
    "a gap": (ring((None, 3), (5, None)), "warning", "no key signs from 2027-01-18"),
    "both end soon": (ring((None, 3), (None, 5)), "warning", "then k1; no key signs from 2027-01-20"),
    "ended": (ring((None, -1)), "failed", "no key may sign now"),
    "not begun": (ring((1, None)), "failed", "no key may sign now"),
}


@pytest.mark.parametrize("case", KEYS)
def test_which_key_signs_and_until_when(case: str) -> None:
    keys, status, found = KEYS[case]
    finding = keys_finding(keys, NOW)
    assert finding.status.value == status
    assert found in finding.found
    assert bool(finding.remedy) is (status != "ok")


def test_warnings_are_those_of_check_config_unless_another_finding_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    config = configuration("http://127.0.0.1:1")
    config["tokens"]["signing_keys"][0]["not_after"] = "2027-01-16"
    path.write_text(yaml.safe_dump(config))
    settings = load(path)
    found = list(look(settings, NOW, ()))
    assert found
    assert all("client_secret" in each.found for each in found)
    (keys,) = look_at_keys(settings, NOW)
    assert keys.status.value == "warning"
