"""The section `login`."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import assert_refused, changed, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a session of two months": (changed(login__session_ttl="60d"), "login.session_ttl: must be at most 30d"),
    "a consent of two years": (changed(login__consent_ttl="730d"), "login.consent_ttl: must be at most 365d"),
    "a slow code": (changed(login__code_ttl="61s"), "login.code_ttl: must be at most 60s"),
    "no folder": (changed(login__templates_dir="canary"), "login.templates_dir: is no folder"),
    "a number for a folder": (changed(login__templates_dir=5), "login.templates_dir: is no folder"),
    "a path for an origin": (changed(login__form_action=["https://canary/x"]), "login.form_action[0]: write an origin"),
    "a scope without words": (changed(login__scopes={"a": ""}), "login.scopes.a: "),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    assert_refused(file, *REFUSED[case])


def test_a_folder_is_found_beside_the_configuration_and_looked_at(file: Path) -> None:
    folder = file.parent / "templates"
    folder.mkdir()
    document = changed(login__templates_dir="templates")
    assert settings_of(file, document).login.templates_dir == folder
    (folder / "login.html").write_text("{% if %}")
    assert_refused(file, document, "login.templates_dir: login.html, line 1: ")
