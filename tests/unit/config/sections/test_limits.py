"""The section `limits`."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import assert_refused, changed

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a tiny limit": (changed(limits__headers="1B"), "limits.headers: "),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)
