"""The security model names code and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()
TESTS = sorted(set(re.findall(r"`([\w/]+\.py)::(test_\w*)`", TEXT)))
CODE = sorted(set(re.findall(r"`([\w/]+\.py)`", TEXT)))


def test_there_is_evidence() -> None:
    assert len(TESTS) > 50
    assert len(CODE) > 20


@pytest.mark.parametrize(("file", "name"), TESTS, ids=str)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    """`test_` alone stands for all tests of the module."""
    text = (ROOT / "tests" / file).read_text()
    assert re.search(rf"def {name}\(" if name != "test_" else r"def test_\w+\(", text)


@pytest.mark.parametrize("file", CODE)
def test_code_that_is_named_exists(file: str) -> None:
    assert (ROOT / "sidecar" / file).is_file()


def test_no_row_that_is_met_lacks_its_evidence() -> None:
    rows = [row for row in TEXT.splitlines() if row.startswith("| ") and " | met" in row]
    assert len(rows) > 40
    assert [row for row in rows if "::test_" not in row] == []
