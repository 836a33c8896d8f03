"""config.changes: what differs between two files, by name, and what of it needs a restart."""

from pathlib import Path
from typing import Any

import pytest

from sidecar.config.changes import Changes, compare
from tests.support.settings import changed, settings_of

CLIENT = {"client_id": "a", "client_secret": "s" * 40}


def between(file: Path, old: dict[str, Any], new: dict[str, Any]) -> Changes:
    return compare(settings_of(file, old), settings_of(file, new))


def test_the_same_file_differs_in_nothing(file: Path) -> None:
    found = between(file, changed(), changed())
    assert (found.applied, found.at_restart) == ((), ())


def test_entries_are_named_and_values_are_not(file: Path) -> None:
    old = [CLIENT, {**CLIENT, "client_id": "b"}]
    new = [{**CLIENT, "client_secret": "t" * 40}, {**CLIENT, "client_id": "c"}]
    found = between(file, changed(clients=old), changed(clients=new))
    assert found.applied == ("clients: added c", "clients: removed b", "clients: changed a")
    assert not set("st") & {word for text in found.applied for word in text.split()}


def test_an_order_that_means_something_is_a_difference(file: Path) -> None:
    keys = [{"kid": name, "alg": "HS256", "secret": name * 40} for name in "ab"]
    found = between(file, changed(tokens__signing_keys=keys), changed(tokens__signing_keys=keys[::-1]))
    assert found.applied == ("tokens.signing_keys: order",)


def test_many_entries_are_counted(file: Path) -> None:
    many = [{**CLIENT, "client_id": f"c{number:02}"} for number in range(25)]
    (text,) = between(file, changed(clients=[]), changed(clients=many)).applied
    assert text.startswith("clients: added c00, c01, ")
    assert text.endswith("c19 and 5 more")


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ({}, {"limits": {"in_flight": 7}}, "limits.in_flight"),
        ({}, {"timeouts": {"idle": "7s"}}, "timeouts.idle"),
        ({}, {"upstream__url": "http://127.0.0.1:7"}, "upstream.url"),
        ({}, {"routes": [{"path": "/x", "access": "public"}]}, "routes"),
        ({}, {"compat": "rfc"}, "compat"),
        ({}, {"workers_timeout": "7s"}, "workers_timeout"),
        ({}, {"drain": {"delay": "7s"}}, "drain.delay"),
        ({}, {"logging": {"level": "error"}}, "logging.level"),
        ({}, {"store": {"on_outage": {"allow_cached": "5m"}}}, "store.on_outage"),
        ({}, {"admin": {"ready_needs_store": True}}, "admin.ready_needs_store"),
    ],
)
def test_what_can_be_applied_is_applied(file: Path, old: dict[str, Any], new: dict[str, Any], path: str) -> None:
    after = settings_of(file, changed(**new))
    found = compare(settings_of(file, changed(**old)), after)
    assert (found.applied, found.at_restart) == ((path,), ())
    assert found.settings.model_dump() == after.model_dump()


@pytest.mark.parametrize(
    ("new", "path"),
    [
        ({"listen": "127.0.0.1:1"}, "listen.address"),
        ({"admin": {"listen": "127.0.0.1:1"}}, "admin.listen"),
        ({"workers": 2, "store": {"url": "redis://a"}}, "workers"),
        ({"store": {"url": "redis://b"}}, "store.url"),
        ({"store": {"url": "redis://a", "prefix": "{p}"}}, "store.prefix"),
        ({"store": {"url": "redis://a", "timeout": "2s"}}, "store.timeout"),
        ({"store": {"url": "redis://a", "partitions": 3}}, "store.partitions"),
        ({"logging": {"format": "text"}}, "logging.format"),
    ],
)
def test_what_only_a_start_can_change_is_named_and_kept(file: Path, new: dict[str, Any], path: str) -> None:
    old = settings_of(file, changed(store={"url": "redis://a"}))
    found = compare(old, settings_of(file, changed(**{"store": {"url": "redis://a"}, **new})))
    assert (found.applied, found.at_restart) == ((), (path,))
    assert found.settings.model_dump() == old.model_dump()


def test_another_password_of_the_store_is_no_other_store(file: Path) -> None:
    for before, after in (
        ("redis://u:p@a:1/0", "redis://u:q@a:1/0"),
        ("redis://a:1/0?password=p", "redis://a:1/0?password=q"),
        ("unix:///s?password=p", "unix:///s?password=q"),
        ("redis+sentinel://u:p@a,b/m", "redis+sentinel://u:q@a,b/m?sentinel_password=r"),
    ):
        found = between(file, changed(store={"url": before}), changed(store={"url": after}))
        assert (found.applied, found.at_restart) == (("store.url",), ())
        assert found.settings.store.url.get_secret_value() == after
