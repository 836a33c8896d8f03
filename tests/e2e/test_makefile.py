"""The Makefile on a machine that has nothing yet. The programs that it calls are doubles here, which wait to be let go, so that
the order of what is said and what is done can be seen; `test_documents` has the real ones."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.documents import ROOT
from tests.support.waiting import wait_until
from tests.support.walk import script

WAIT = 'echo "$0 $*" >> calls; read -r line < gate\n'
PIP = f"#!/bin/sh\n{WAIT}"
DEMO = '#!/bin/sh\necho "$*"\n'
PYTHON = f"""#!/bin/sh
{WAIT}mkdir -p .venv/bin
printf '%s' '{PIP}' > .venv/bin/pip
printf '%s' '{DEMO}' > .venv/bin/sidecar
chmod +x .venv/bin/*
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    script(tmp_path / "python", PYTHON)
    os.mkfifo(tmp_path / "gate")
    return tmp_path


@contextmanager
def make(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = ["make", "PYTHON=./python", *words]
    # When the suite itself is run by make, its variables would make this one print the folders that it enters.
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def let_go(folder: Path, number: int) -> None:
    """Of the double that was called as the first, the second …: from then on it waits."""
    wait_until(lambda: len(calls(folder)) == number, within=20)
    (folder / "gate").write_text("go\n")


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


def test_each_step_of_make_run_is_said_before_it_begins(folder: Path) -> None:
    with make(folder, "run", "ARGS=--check") as process:
        assert process.stdout
        assert process.stdout.readline() == "making a virtual environment in .venv\n"
        let_go(folder, 1)
        assert process.stdout.readline().startswith("installing the sidecar")
        let_go(folder, 2)
        assert process.stdout.readline() == "starting the demo\n"
        venv, install = calls(folder)
        assert venv == "./python -m venv .venv"
        assert "[dev]" not in install, "the demo needs nothing of the tests"
        assert "quiet" not in install, "pip says what it does, meanwhile"
        assert process.stdout.readline() == "demo --check\n"
        assert process.wait(20) == 0


def test_what_is_there_is_not_made_again(folder: Path) -> None:
    with make(folder, "run") as process:
        for number in (1, 2):
            let_go(folder, number)
        assert process.wait(20) == 0
    before = calls(folder)
    with make(folder, "run") as process:
        assert process.stdout
        assert process.stdout.read() == "starting the demo\ndemo\n"
        assert process.wait(20) == 0
    assert calls(folder) == before


def test_an_installation_that_failed_is_tried_again(folder: Path) -> None:
    script(folder / "python", PYTHON.replace("read -r line < gate\n' > .venv/bin/pip", "exit 1\n' > .venv/bin/pip"))
    for _ in range(2):
        with make(folder, "run") as process:
            if not (folder / ".venv").exists():
                let_go(folder, 1)
            assert process.wait(20) == 2
    assert len(calls(folder)) == 3
