"""The configuration files that users start from are true to the program."""

import typing
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from sidecar.config.load import load
from sidecar.config.settings import Admin, Limits, Settings
from sidecar.core.oauth.users import hash_password
from tests.support.certificates import Authority
from tests.support.keys import PEMS, public_pem

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLE = CONFIG / "sidecar.example.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `config/` with what the files refer to."""
    for file in CONFIG.glob("*.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    for name in ("keys", "templates"):
        (tmp_path / name).mkdir()
    for key in ("keys/2026-11", "keys/admin-token", "signing-key"):
        (tmp_path / key).write_text("0123456789abcdef" * 4 + "\n")
    (tmp_path / "keys" / "2026-12.pem").write_text(PEMS["ES256"])
    (tmp_path / "keys" / "2026-10.pub.pem").write_text(public_pem(PEMS["RS256"]))
    authority = Authority(tmp_path / "tls")
    authority.issue("server", "server")
    authority.issue("client", "client")
    monkeypatch.setenv("SIDECAR_STORE_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("BILLING_SECRET", "b" * 32)
    monkeypatch.setenv("REPORTING_SECRET", "r" * 32)
    monkeypatch.setenv("ANNA_HASH", hash_password("secret"))
    return tmp_path


@pytest.mark.parametrize("name", sorted(file.name for file in CONFIG.glob("*.yaml")))
def test_each_file_is_accepted(folder: Path, name: str) -> None:
    assert load(folder / name).clients


def _keys(model: type[BaseModel]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, field in model.model_fields.items():
        inner = [field.annotation, *typing.get_args(field.annotation)]
        nested = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        found[name] = _keys(nested) if nested else None
    return found


def _missing(known: dict[str, object], document: object, where: str = "") -> set[str]:
    """The keys that no item of the document shows."""
    items = document if isinstance(document, list) else [document]
    missing = set()
    for name, nested in known.items():
        shown = [item[name] for item in items if name in item]
        if not shown:
            missing.add(where + name)
        elif isinstance(nested, dict):
            merged = [entry for value in shown for entry in (value if isinstance(value, list) else [value])]
            missing |= _missing(nested, merged, f"{where}{name}.")
    return missing


def test_the_example_shows_every_key() -> None:
    either_or = {"clients.client_secret"}
    assert _missing(_keys(Settings), yaml.safe_load(EXAMPLE.read_text())) - either_or == set()


def test_the_examples_defaults_are_the_programs(folder: Path) -> None:
    """What the example shows beside "default" values is what leaving the key out means."""
    example = load(folder / EXAMPLE.name)
    assert example.admin.model_copy(update={"token": None}) == Admin()
    for section in ("credentials", "timeouts", "streams", "throttling", "logging"):
        assert getattr(example, section) == Settings.model_fields[section].default, section
    assert example.limits.model_copy(update={"body": None, "memory": None}) == Limits()
    for name in ("max_connections", "idle"):
        assert getattr(example.upstream, name) == type(example.upstream).model_fields[name].default, name
    for name in ("access_token_ttl", "refresh_token_ttl", "refresh_idle", "refresh_grace", "leeway", "cache_size"):
        assert getattr(example.tokens, name) == type(example.tokens).model_fields[name].default, name
    for name in ("session_ttl", "consent_ttl", "code_ttl"):
        assert getattr(example.login, name) == type(example.login).model_fields[name].default, name
    for name in ("prefix", "timeout", "max_staleness"):
        assert getattr(example.store, name) == type(example.store).model_fields[name].default, name
    for name in ("listen", "workers", "compat", "trusted_proxies", "proxy_headers"):
        assert getattr(example, name) == Settings.model_fields[name].default, name
