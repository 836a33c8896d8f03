"""The section `upstream`."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import assert_refused, changed, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an upstream without scheme": (changed(upstream__url="127.0.0.1:80"), "upstream.url: write an address such as"),
    "an upstream with a path": (changed(upstream__url="http://h/api"), "upstream.url: only scheme, host and port"),
    "an upstream with a password": (changed(upstream__url="http://u:canary@h"), "upstream.url: only scheme, host"),
    "an upstream with a bad port": (changed(upstream__url="http://h:99999"), "upstream.url: the port must be"),
    "a unix socket with two slashes": (changed(upstream__url="unix://run/api.sock"), "upstream.url: write a Unix socket"),
    "no upstream": (changed(upstream__url=[]), "upstream.url: name at least one"),
    "a number for an upstream": (changed(upstream__url=5), "upstream.url: must be an address"),
    "one of several upstreams": (changed(upstream__url=["http://h", "h"]), "upstream.url: write an address such as"),
    "a host that is none": (changed(upstream__host="a b"), "upstream.host: write keep (as the client sent it), upstream"),
    "half a pair for the upstream": (changed(upstream__tls={"key": __file__}), "upstream.tls: certificate and key belong"),
    "a CA that is none": (changed(upstream__tls={"ca": __file__}), "upstream.tls: the CA file cannot be used"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


ACCEPTED: dict[str, dict[str, Any]] = {
    "an upstream by socket": changed(upstream__url="unix:///run/api.sock"),
    "the host that the client named": changed(upstream__host="keep"),
    "the host that the URL names": changed(upstream__host="upstream"),
    "another host": changed(upstream__host="api.internal:81"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(file: Path, case: str) -> None:
    assert settings_of(file, ACCEPTED[case])
