"""deploy/systemd: what the units say, and that systemd has no remark about them."""

import configparser
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from sidecar.cli import main
from sidecar.config.sections.drain import Drain
from sidecar.runtime.ending import GRACE
from tests.support.documents import ROOT

FOLDER = ROOT / "deploy" / "systemd"
SERVICE = (FOLDER / "auth-sidecar.service").read_text()


def section(text: str, name: str) -> dict[str, str]:
    """Of a repeated key, the last value."""
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), inline_comment_prefixes=())
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return dict(parser[name])


def test_its_commands_exist() -> None:
    commands = [line for line in SERVICE.splitlines() if line.lstrip("#").startswith("Exec")]
    assert len(commands) == 3
    for line in commands:
        program, command, *options = line.split("=", 1)[1].split()
        assert program == "/opt/auth-sidecar/bin/sidecar"
        assert isinstance(main.get_command(click.Context(main), command), click.Command)
        assert options == ["--config", "/etc/auth-sidecar/sidecar.yaml"]


def test_it_has_the_time_to_drain() -> None:
    """Also with several workers, which have eight seconds of reserve, and after the soft drain of ExecStop."""
    service, drain = section(SERVICE, "Service"), Drain()
    assert int(service["TimeoutStopSec"]) >= drain.delay + drain.timeout + max(GRACE, 8)
    assert service["KillMode"] == "mixed", "the parent tells its workers"


def test_the_socket_has_the_name_that_the_sidecar_knows() -> None:
    socket = section((FOLDER / "auth-sidecar.socket").read_text(), "Socket")
    assert socket["FileDescriptorName"] == "public"
    assert socket["ListenStream"] == "0.0.0.0:3030"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_has_no_remark(tmp_path: Path) -> None:
    """About keys, values and dependencies; and it counts the exposure as low: at most 2.0 of 10."""
    program = shutil.which("true")
    (tmp_path / "auth-sidecar.service").write_text(SERVICE.replace("/opt/auth-sidecar/bin/sidecar", str(program)))
    shutil.copy(FOLDER / "auth-sidecar.socket", tmp_path)
    units = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(tmp_path / "auth-sidecar.service")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:]
