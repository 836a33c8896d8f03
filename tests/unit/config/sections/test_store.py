"""The section `store`."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import assert_refused, changed, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown store": (changed(store__url="mysql://u:canary@h"), "store.url: write memory://, redis://HOST"),
    "sentinels without a service": (changed(store__url="redis+sentinel://h"), "store.url: name the service"),
    "a database in a cluster": (changed(store__url="redis+cluster://h/1"), "store.url: a Cluster has only database 0"),
    "a cluster's prefix without braces": (
        changed(store={"url": "redis+cluster://h", "prefix": "auth"}), "store.prefix: needs a name in braces",
    ),
    "a cluster's prefix with empty braces": (
        changed(store={"url": "rediss+cluster://h", "prefix": "{}auth"}), "store.prefix: needs a name in braces",
    ),
    "no partition": (changed(store={"url": "redis+cluster://h", "partitions": 0}), "store.partitions: "),
    "too many partitions": (changed(store={"url": "redis+cluster://h", "partitions": 65}), "store.partitions: "),
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
    "sentinels": changed(store__url="redis+sentinel://u:p@h,[::1]:1,h:2/main/3?sentinel_password=x"),
    "sentinels with tls": changed(store__url="rediss+sentinel://h/main?ssl_ca_certs=/ca.pem"),
    "a cluster": changed(store={"url": "redis+cluster://h,h:1/", "partitions": 64, "prefix": "a{b}"}),
    "a prefix without braces": changed(store={"url": "redis+sentinel://h/main", "prefix": "auth"}),
    "redis by socket": changed(store__url="unix:///run/redis.sock?db=1"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(file: Path, case: str) -> None:
    assert settings_of(file, ACCEPTED[case])


@pytest.mark.parametrize(
    ("said", "seconds"), [("deny", 0), ({"allow_cached": "5m"}, 300), ({"allow_cached": "7d"}, 7 * 86400)]
)
def test_what_an_outage_does_is_a_word_or_a_time(file: Path, said: object, seconds: float) -> None:
    assert settings_of(file, changed(store__on_outage=said)).store.on_outage == seconds
    route = {"path": "/x", "on_outage": said}
    assert settings_of(file, changed(routes=[route])).routes[0].rule.outage == seconds


@pytest.mark.parametrize(
    "said", ["allow", 5, "5m", {"allow_cached": 5}, {"allow_cached": "0s"}, {"allow_cached": "8d"}, {}, []]
)
def test_any_other_answer_to_an_outage_is_a_fault(file: Path, said: object) -> None:
    assert_refused(file, changed(store__on_outage=said), "store.on_outage: ")
    assert_refused(file, changed(routes=[{"path": "/x", "on_outage": said}]), "routes[0].on_outage: ")
