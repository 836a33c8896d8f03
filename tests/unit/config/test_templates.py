"""The operator's templates: what is refused before a user sees them."""

from pathlib import Path

import pytest

from sidecar.config.templates import template_fault


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("login.html", b"{% if %}", "login.html, line 1: "),
        ("login.html", b"\n{{ a", "login.html, line 2: "),
        ("other.html", b"\xff", "other.html cannot be read as UTF-8 text"),
        ("style.css", b"</STYLE><script>", "style.css holds </style"),
        ("style.css", b"\xff", "style.css cannot be read as UTF-8 text"),
        ("notes.txt", b"\xff", None),
    ],
)
def test_a_folder_is_looked_at_before_anybody_sees_it(
    tmp_path: Path, name: str, content: bytes, fault: str | None
) -> None:
    (tmp_path / name).write_bytes(content)
    found = template_fault(tmp_path)
    assert (found or "").startswith(fault or "")
    assert (found is None) is (fault is None)
