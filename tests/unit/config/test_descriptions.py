"""How errors of the models read as faults."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import CLIENT, MINIMAL, assert_refused, changed

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": (changed(upstraem={}), "upstraem: unknown key; did you mean upstream?"),
    "an unknown key below": (changed(upstream__uri="x"), "upstream.uri: unknown key; did you mean url?"),
    "an unknown key in a list": (
        changed(clients=[{**CLIENT, "roels": []}]), "clients[0].roels: unknown key; did you mean roles?",
    ),
    "a strange key": (changed(store__zzz=1), "store.zzz: unknown key; known here: url"),
    "a missing section": ({"tokens": MINIMAL["tokens"]}, "upstream: is required"),
    "a section that is none": (changed(admin="x"), "admin: must be a section with keys"),
    "an empty section": (changed(store=None), "store: must be a section with keys"),
    "a list that is none": (changed(clients="x"), "clients: must be a list"),
    "a number for a text": (changed(tokens__audience=5), "tokens.audience: must be a string; put quotes"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)
