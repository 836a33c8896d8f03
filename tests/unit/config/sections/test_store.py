"""The section `store`."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import assert_refused, changed, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown store": (changed(store__url="mysql://u:canary@h"), "store.url: write memory://, redis://HOST"),
    "sentinel": (changed(store__url="redis+sentinel://h"), "store.url: Sentinel and Cluster are not supported yet"),
    "a store without host": (changed(store__url="redis://"), "store.url: the host is missing"),
    "a store with a bad port": (changed(store__url="redis://h:x"), "store.url: the host or port cannot be read"),
    "a database by name": (changed(store__url="redis://h/main"), "store.url: write the database as a number"),
    "a store without path": (changed(store__url="unix://"), "store.url: write the socket's path"),
    "certificates unchecked": (
        changed(store__url="rediss://h?ssl_cert_reqs=none"), "store.url: only these options may follow",
    ),
    "a store's own timeout": (changed(store__url="redis://h?socket_timeout=9"), "store.url: only these options"),
    "a relative certificate": (changed(store__url="rediss://h?ssl_ca_certs=ca.pem"), "store.url: ssl_ca_certs must be"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


ACCEPTED: dict[str, dict[str, Any]] = {
    "tls to redis": changed(store__url="rediss://u:p@h:1/2?ssl_ca_certs=/ca.pem"),
    "redis without a database": changed(store__url="redis://h"),
    "redis by socket": changed(store__url="unix:///run/redis.sock?db=1"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(file: Path, case: str) -> None:
    assert settings_of(file, ACCEPTED[case])
