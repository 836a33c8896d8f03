"""The image: what its Dockerfile and its locked requirements say. `make image-test` builds and runs it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sidecar import __version__
from tests.support.documents import ROOT

LINES = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
LAST = LINES[max(index for index, line in enumerate(LINES) if line.startswith("FROM ")) :]
LOCKED = ROOT / "deploy" / "image"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def copied(lines: list[str]) -> list[str]:
    """What a stage takes from the build context."""
    words = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    return [word.removeprefix("./") for line in words for word in line if not line[0].startswith("--from")]


def pinned(name: str) -> dict[str, tuple[str, int]]:
    """The version of each requirement in a locked file, and how many hashes it has."""
    text = (LOCKED / name).read_text()
    entries = re.findall(r"^([\w.-]+)==([\w.]+)([^\n]*\n(?:    --hash=\S+(?: \\)?\n)*)", text, re.MULTILINE)
    return {canonicalize_name(name): (version, rest.count("--hash=sha256:")) for name, version, rest in entries}


def test_the_image_runs_as_a_number_and_gets_its_signals() -> None:
    assert "USER 65532:65532" in LAST
    assert 'ENTRYPOINT ["sidecar"]' in LAST
    assert "EXPOSE 3030 9464" in LAST
    assert not any(line.startswith("ADD ") for line in LINES)


def test_nothing_that_builds_reaches_the_image() -> None:
    """One folder does, into which only the locked requirements and the wheel were installed."""
    assert [line for line in LAST if line.startswith("COPY ")] == ["COPY --from=build /opt/sidecar /opt/sidecar"]
    installs = re.findall(
        r"/opt/build/bin/pip --python /opt/sidecar/bin/python install (.*?)(?: \\)?$", "\n".join(LINES), re.MULTILINE
    )
    assert installs == [
        "--require-hashes --only-binary=:all: --requirement requirements.txt", "--no-deps --no-index /wheel/*.whl",
    ]  # fmt: skip


def test_the_image_copies_only_what_the_build_context_lets_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    names = {str(path.relative_to(ROOT)) for pattern in let_in for path in ROOT.glob(pattern)}
    assert names == set(copied(LINES))
    assert (ROOT / ".dockerignore").read_text().splitlines()[0] == "*"


def test_both_stages_have_the_base_that_is_named() -> None:
    """An argument with a default, so that a release can name a digest."""
    assert [line for line in LINES if line.startswith("FROM ")] == ["FROM ${BASE} AS build", "FROM ${BASE}"]
    (base,) = [line for line in LINES if line.startswith("ARG BASE=")]
    assert re.fullmatch(r"ARG BASE=docker\.io/library/python:3\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base)
    assert LINES.index(base) == 0


def test_the_version_is_that_of_the_program() -> None:
    assert f'ARG SOURCE="" VERSION={__version__} REVISION=""' in LINES


def test_the_health_check_needs_no_other_program() -> None:
    (command,) = [line.strip() for line in LINES if line.strip().startswith('CMD ["python"')]
    assert "import HTTPConnection" in command
    assert "'/healthz'" in command
    assert "9464" in command


@pytest.mark.parametrize(
    ("file", "asked"),
    [
        ("requirements.txt", PROJECT["project"]["dependencies"]),
        ("build-requirements.txt", PROJECT["build-system"]["requires"]),
    ],
)
def test_what_is_locked_satisfies_the_project(file: str, asked: list[str]) -> None:
    """`make lock` writes both files. Each entry has a hash, without which pip installs nothing."""
    locked = pinned(file)
    text = (LOCKED / file).read_text()
    assert len(locked) == len(re.findall(r"^\S.*==", text, re.MULTILINE)) > len(asked)
    for requirement in map(Requirement, asked):
        version, _ = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement
    assert all(hashes for _, hashes in locked.values())


def test_what_is_locked_is_what_runs_and_no_more() -> None:
    assert not {"pip", "setuptools", "hatchling", "pytest", "build"} & pinned("requirements.txt").keys()


def test_the_makefile_writes_the_locked_files() -> None:
    text = (ROOT / "Makefile").read_text()
    for path in Path(LOCKED).glob("*.txt"):
        assert f"$(LOCKED)/{path.name}" in text
        assert "make lock" in path.read_text().splitlines()[1]
