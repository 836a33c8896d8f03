"""The generated documents are what the program says now."""

import pytest

from tests.support.references import ROOT, written

WRITTEN = written()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_generated_file_is_current(name: str) -> None:
    """`make docs` writes it again."""
    assert (ROOT / name).read_text() == WRITTEN[name]


def test_every_key_has_its_row_with_type_default_and_meaning() -> None:
    rows = [line.split(" | ") for line in WRITTEN["docs/configuration.md"].splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if len(row) != 4 or not row[1] or len(row[3]) < 10] == []


def test_values_stand_as_in_the_file() -> None:
    text = WRITTEN["docs/configuration.md"]
    for row in (
        "| `access_token_ttl` | duration | `30m` |",
        "| `body_limit` | size | `64KiB` |",
        "| `failures_per_address` | rate or `off` | `300/1m` |",
        "| `listen` | `HOST:PORT` | `127.0.0.1:9464` |",
        "| `not_before` | time | none |",
        "| `on_outage` | `deny` or `{allow_cached: DURATION}` | `deny` |",
        "| `issuer` | text | **required** |",
    ):
        assert row in text
