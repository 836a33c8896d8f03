"""What a release needs: one version everywhere, and an audit that does not take silence for a clean result."""

import re
from pathlib import Path

import pytest

from sidecar import __version__
from tests.support.audit import Audit, read

ROOT = Path(__file__).parents[2]


def test_the_version_comes_from_one_place() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project
    assert re.search(r'\[tool\.hatch\.version\]\npath = "sidecar/__init__.py"', project)


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md"])
def test_documents_name_this_version(name: str) -> None:
    series = __version__.rpartition(".")[0]
    named = set(re.findall(r"(?<![\d.])0\.\d+\.(?:\d+|x)\b(?!\.\d)", (ROOT / name).read_text()))
    assert named <= {__version__, f"{series}.x"}
    assert named


def test_the_changelog_has_a_place_for_what_comes() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_silence_is_not_a_clean_result() -> None:
    found = read(
        [
            {"name": "auth-sidecar", "skip_reason": "not on PyPI"},
            {"name": "a", "version": "1", "vulns": []},
            {"name": "b", "skip_reason": "no answer"},
            {
                "name": "c",
                "version": "2",
                "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}, {"id": "X", "fix_versions": []}],
            },
        ]
    )
    assert found == Audit(["c 2: PYSEC-1, fixed in 2.1", "c 2: X, fixed in no version"], ["a"], ["b"])
