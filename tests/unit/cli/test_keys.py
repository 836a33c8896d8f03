"""`sidecar keys`, in this process."""

import os
import stat
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from sidecar.assembly.keys import key_ring
from sidecar.cli import main
from sidecar.config.load import load
from sidecar.core.jose.algorithms import ASYMMETRIC, SECRET_BYTES, SYMMETRIC
from tests.support.keys import PEMS, public_pem
from tests.support.process import configuration


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments])


def written(folder: Path, keys: object) -> Path:
    tokens = {"issuer": "https://issuer", "audience": "api", "signing_keys": keys}
    path = folder / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", tokens=tokens)))
    return path


@pytest.mark.parametrize("command", [[], ["generate"], ["list"]])
def test_help(command: list[str]) -> None:
    result = run(*command, "--help")
    assert (result.exit_code, len(result.output.splitlines()) > 5) == (0, True)


@pytest.mark.parametrize("alg", [*ASYMMETRIC, *SYMMETRIC])
def test_the_lines_that_are_printed_are_a_key_that_works(tmp_path: Path, alg: str) -> None:
    file = tmp_path / "2026-11.key"
    umask = os.umask(0)
    try:
        result = run("generate", "--alg", alg, "--out", str(file))
    finally:
        os.umask(umask)
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not any(line in result.output for line in file.read_text().splitlines())
    (key,) = key_ring(load(written(tmp_path, yaml.safe_load(result.stdout))).tokens)
    assert (key.kid, key.alg, key.can_sign) == ("2026-11", alg, True)
    if alg in SYMMETRIC:
        assert len(bytes.fromhex(file.read_text())) == SECRET_BYTES[alg]


def test_a_key_is_never_overwritten_nor_written_through_a_link(tmp_path: Path) -> None:
    there, dangling = tmp_path / "there", tmp_path / "link"
    there.write_text("precious")
    dangling.symlink_to(tmp_path / "target")
    for path in (there, dangling):
        result = run("generate", "--out", str(path))
        assert (result.exit_code, "exists: no key is overwritten" in result.output) == (1, True)
    assert there.read_text() == "precious"
    assert not (tmp_path / "target").exists()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    result = run("generate", "--out", str(tmp_path / "none" / "key"))
    assert (result.exit_code, "cannot be written: No such file" in result.output) == (1, True)


@pytest.mark.parametrize("kid", ["", " ", "a ", "ä", "a\nb", "x" * 256])
def test_an_id_that_cannot_be_configured_is_refused(tmp_path: Path, kid: str) -> None:
    assert run("generate", "--out", str(tmp_path / "key"), "--kid", kid).exit_code == 2
    assert not (tmp_path / "key").exists()


def test_an_id_can_be_chosen_and_is_quoted(tmp_path: Path) -> None:
    result = run("generate", "--out", str(tmp_path / "key"), "--kid", '2026-11: "x" #1')
    assert yaml.safe_load(result.stdout)[0]["kid"] == '2026-11: "x" #1'


def test_the_list_says_what_each_key_does_and_shows_none(tmp_path: Path) -> None:
    keys = [
        {"kid": "next", "alg": "EdDSA", "private_key": PEMS["EdDSA"], "not_before": "2126-01-01"},
        {"kid": "now", "alg": "ES256", "private_key": PEMS["ES256"]},
        {"kid": "spare", "alg": "HS256", "secret": "canary-" * 10},
        {"kid": "old", "alg": "RS256", "private_key": PEMS["RS256"], "not_after": "2026-01-01T00:00:00+01:00"},
        {"kid": "public", "alg": "ES384", "public_key": public_pem(PEMS["ES384"])},
    ]
    result = run("list", "--config", str(written(tmp_path, keys)))
    assert result.exit_code == 0
    assert [line.split("  ") for line in map(squeeze, result.output.splitlines())] == [
        ["kid", "alg", "role", "not before", "not after"],
        ["next", "EdDSA", "not yet", "2126-01-01T00:00:00Z", "-"],
        ["now", "ES256", "signs", "-", "-"],
        ["spare", "HS256", "verifies", "-", "-"],
        ["old", "RS256", "retired", "-", "2025-12-31T23:00:00Z"],
        ["public", "ES384", "verifies", "-", "-"],
    ]
    retired = run("list", "--config", str(written(tmp_path, [keys[0], keys[3]])))
    assert (retired.exit_code, "no key may sign now" in retired.output) == (1, True)
    refused = CliRunner().invoke(main, ["check-config", str(tmp_path / "sidecar.yaml")])
    assert (refused.exit_code, "tokens.signing_keys: no key may sign now" in refused.output) == (2, True)


def squeeze(line: str) -> str:
    """Columns are two spaces apart or more."""
    while "   " in line:
        line = line.replace("   ", "  ")
    return line
