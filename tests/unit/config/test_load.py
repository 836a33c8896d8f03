"""Reading the file: every fault at once, each with its path."""

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.load import SettingsError, current_store_url, load
from sidecar.config.settings import Settings
from tests.support.settings import CLIENT, changed, faults_of, settings_of


def test_what_is_read_knows_its_file(file: Path) -> None:
    settings = settings_of(file, changed(clients=[CLIENT], workers=1))
    assert (settings.path, [client.client_id for client in settings.clients]) == (file, ["c"])


def test_the_password_of_the_store_is_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_URL", "redis://:before@h")
    settings = settings_of(file, changed(store__url="${env:STORE_URL}"))
    monkeypatch.setenv("STORE_URL", "redis://:after@h")
    assert current_store_url(settings) == "redis://:after@h"


@pytest.mark.parametrize("address", [None, "mysql://h", ""])
def test_a_store_that_cannot_be_read_again_stays_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    monkeypatch.setenv("STORE_URL", "redis://:before@h")
    settings = settings_of(file, changed(store__url="${env:STORE_URL}"))
    if address is None:
        monkeypatch.delenv("STORE_URL")
    else:
        monkeypatch.setenv("STORE_URL", address)
    assert current_store_url(settings) == "redis://:before@h"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "a: [",
        "{}",
        "store: {url: 'memory://'}",
        "store: {url: 'redis://:${env:NOT_SET}@h'}",
        "store: {url: 'redis://:${file:none}@h'}",
        "store: {url: 5}",
        "store: [redis]",
    ],
)
def test_a_file_that_names_no_server_any_more_changes_no_store(file: Path, text: str | None) -> None:
    """It may be replaced at this moment."""
    settings = settings_of(file, changed(store__url="redis://:before@h"))
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    assert current_store_url(settings) == "redis://:before@h"


def test_settings_without_a_file_keep_their_store() -> None:
    assert current_store_url(Settings.model_validate(changed(store__url="redis://h"))) == "redis://h"


def test_all_faults_come_together(file: Path) -> None:
    document = changed(
        listen="x", workers=2, upstream__url="", tokens__leeway="1h", clients=[CLIENT, {**CLIENT, "x": 1}]
    )
    paths = {fault.partition(":")[0] for fault in faults_of(file, document)}
    assert paths == {"listen", "workers", "upstream.url", "tokens.leeway", "clients[1].x", "clients[1].client_id"}


@pytest.mark.parametrize("text", ["", "- a", "just text", "5", "null", "a: [", "a: 1\na: 2", "\t", "a: \x00"])
def test_what_is_no_configuration_is_one_fault(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert len(caught.value.faults) == 1


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("name", [[], {}, [[]], None, 5])
def test_a_name_of_any_type_is_a_fault_and_no_traceback(file: Path, name: object) -> None:
    user = {"username": "u", "password_hash": "x"}
    faults = faults_of(file, changed(clients=[{**CLIENT, "client_id": name}], users=[user, {**user, "username": name}]))
    assert [fault for fault in faults if fault.startswith("clients[0].client_id: ")]
    assert [fault for fault in faults if fault.startswith("users[1].username: ")]


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 5000, "a\0b"])
def test_a_path_that_no_file_can_have_is_a_fault(file: Path, name: str) -> None:
    document = changed(tls={"certificate": name, "key": name}, login__templates_dir=name)
    file.write_text(json.dumps(document))
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert {fault.path for fault in caught.value.faults} == {"tls.certificate", "tls.key", "login.templates_dir"}


def test_a_lone_surrogate_is_a_fault(file: Path) -> None:
    file.write_text(
        json.dumps(changed(tls={"certificate": "\ud800", "key": "\ud800"}))
    )  # JSON is YAML, and can hold it
    with pytest.raises(SettingsError):
        load(file)


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"upstream__url": "http://user:canary@h\u2100"}, "upstream.url"),
        ({"upstream__url": ["http://[canary"]}, "upstream.url"),
        ({"store__url": "redis://:canary@h\u2100"}, "store.url"),
        ({"tokens__issuer": "https://canary@h\u2100"}, "tokens.issuer"),
        ({"listen": "h:" + "9" * 5000}, "listen"),
    ],
)
def test_no_fault_quotes_what_python_says_of_a_value(file: Path, sections: dict[str, Any], path: str) -> None:
    """`urlsplit` puts the address into the text of its error, with the password in it."""
    faults = faults_of(file, changed(**sections))
    assert [fault.partition(":")[0] for fault in faults] == [path]
    assert "canary" not in str(faults)
    assert "value error" not in str(faults)
