"""Small configurations for tests of the settings, and what is said of them."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.load import SettingsError, load
from sidecar.config.settings import Settings

KEY = "0123456789abcdef" * 2
MINIMAL: dict[str, Any] = {
    "upstream": {"url": "http://127.0.0.1:3080"},
    "tokens": {"issuer": "i", "audience": "a", "signing_keys": [{"kid": "1", "alg": "HS256", "secret": KEY}]},
}
CLIENT = {"client_id": "c", "client_secret": "s"}


def settings_of(file: Path, document: Any, now: float | None = None) -> Settings:
    file.write_text(yaml.safe_dump(document))
    return load(file, now=now)


def faults_of(file: Path, document: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings_of(file, document)
    return [str(fault) for fault in caught.value.faults]


def changed(**sections: Any) -> dict[str, Any]:
    """The minimal document with keys set: `tokens__issuer="x"` sets `tokens.issuer`."""
    document = copy.deepcopy(MINIMAL)
    for name, value in sections.items():
        *path, last = name.split("__")
        place = document
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return document


def assert_refused(file: Path, document: Any, expected: str) -> None:
    """The document has one fault, which begins so and shows no canary."""
    faults = faults_of(file, document)
    assert [fault for fault in faults if fault.startswith(expected)], faults
    assert len(faults) == 1
    assert "canary" not in str(faults)
