"""`sidecar check-config` and `demo`, in this process."""

import json
from pathlib import Path

import yaml

from tests.support.command import run
from tests.support.process import configuration


def test_a_file_without_faults_is_said_to_be_ok(config: Path) -> None:
    result = run("check-config", str(config))
    *warnings, last = result.output.splitlines()
    assert (result.exit_code, last) == (0, f"{config}: ok (2 clients, 0 routes)")
    assert all(".client_secret: can be guessed" in warning for warning in warnings)


def test_faults_and_warnings_can_be_read_by_a_machine(config: Path, tmp_path: Path) -> None:
    seen = json.loads(run("check-config", "--json", str(config)).stdout)
    assert (seen["status"], seen["faults"]) == ("ok", [])
    assert {each["path"] for each in seen["warnings"]} >= {"clients[0].client_secret"}
    (tmp_path / "bad.yaml").write_text("listen: nowhere")
    result = run("check-config", "--json", "--config", str(tmp_path / "bad.yaml"))
    seen = json.loads(result.stdout)
    assert (result.exit_code, seen["status"]) == (2, "faults")
    assert {"path": "upstream", "message": "is required"} in seen["faults"]
    assert run("check-config").exit_code == 2


def test_the_demo_refuses_a_store_that_is_none() -> None:
    result = run("demo", "--check", "--store", "mysql://x")
    assert result.exit_code == 2
    assert "memory://" in result.output


def test_implicit_is_warned_of_and_is_no_fault(registered: Path) -> None:
    result = run("check-config", str(registered))
    assert result.exit_code == 0
    assert "warning: clients[2].grant_types: implicit shows tokens" in result.output
    assert "RFC 9700 section 2.1.2" in result.output


def test_refresh_tokens_for_client_credentials_are_warned_of(tmp_path: Path) -> None:
    both = {"client_secret": "s" * 40, "grant_types": ["client_credentials", "refresh_token"]}
    clients = [
        {"client_id": "plain", "client_secret": "s" * 40, "grant_types": ["client_credentials"]},
        {"client_id": "both", **both},
        {"client_id": "app", **both, "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": ["https://a/"]},
    ]  # fmt: skip
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", clients=clients)))
    result = run("check-config", str(path))
    assert result.exit_code == 0
    (warning,) = [line for line in result.output.splitlines() if "section 4.4.3" in line]
    assert warning.startswith("warning: clients[1].grant_types: ")
    assert 'RFC 6749 section 4.4.3: "A refresh token SHOULD NOT be included"' in warning
