"""`sidecar tokens inspect` decides as the sidecars that share the store do."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import run
from tests.support.process import SECRET, Sidecar, configuration, get
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream


def looked_at(config: Path, token: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what the command prints for machines."""
    result = run("tokens", "inspect", "--config", str(config), "--json", stdin=token)
    return result.exit_code, json.loads(result.stdout)


def test_what_was_revoked_in_the_store_is_refused(tmp_path: Path) -> None:
    with Upstream() as upstream, RedisServer() as redis:
        document = configuration(upstream.url, store={"url": redis.url})
        with Sidecar(tmp_path, document) as sidecar:
            config = tmp_path / "sidecar.yaml"
            token, other = sidecar.token(), sidecar.token("other", "other-secret")
            code, seen = looked_at(config, token)
            assert (code, seen["verdict"], seen["revocation_looked_up"]) == (0, "valid", True)
            assert seen["claims"]["client_id"] == "reporting"
            text = run("tokens", "inspect", "--config", str(config), stdin=token)
            assert text.output.splitlines()[-1] == "valid, and not revoked"
            form = {"client_id": "reporting", "client_secret": SECRET, "token": token}
            assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 200
            code, seen = looked_at(config, token)
            assert (code, seen["verdict"], seen["reason"]) == (1, "refused", "revoked")
            assert looked_at(config, other)[0] == 0
            assert run("tokens", "revoke", "--config", str(config), "--client", "other").exit_code == 0
            assert looked_at(config, other)[1]["reason"] == "revoked"


def test_a_store_that_does_not_answer_leaves_it_undecided(tmp_path: Path) -> None:
    with Upstream() as upstream, RedisServer() as redis:
        document = configuration(upstream.url, store={"url": redis.url, "timeout": "500ms"})
        with Sidecar(tmp_path, document) as sidecar:
            token = sidecar.token()
    code, seen = looked_at(tmp_path / "sidecar.yaml", token)
    assert (code, seen["verdict"], seen["reason"]) == (1, "undecided", "store_unavailable")
    assert "no connection (Connection refused)" in seen["detail"]
    text = run("tokens", "inspect", "--config", str(tmp_path / "sidecar.yaml"), stdin=token)
    assert (text.exit_code, "undecided: store_unavailable: 127.0.0.1" in text.output) == (1, True)
    assert "valid" not in text.output.splitlines()[-1]


@pytest.mark.parametrize(("disabled", "verdict"), [(False, "valid"), (True, "refused")])
def test_without_a_shared_store_the_rest_of_the_rule_decides(tmp_path: Path, *, disabled: bool, verdict: str) -> None:
    with Upstream() as upstream:
        document = configuration(upstream.url)
        with Sidecar(tmp_path, document) as sidecar:
            token = sidecar.token()
    document["clients"][0]["disabled"] = disabled
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(document))
    code, seen = looked_at(path, token)
    assert (code, seen["verdict"]) == (int(disabled), verdict)
    assert seen["reason"] == ("client_disabled" if disabled else None)
    assert seen.get("revocation_looked_up") is (None if disabled else False)
