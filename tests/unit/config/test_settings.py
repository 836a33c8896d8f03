"""The whole file: its defaults, and that nothing changes or shows what was read."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import MINIMAL, assert_refused, changed, settings_of


def test_the_smallest_file_has_safe_defaults(file: Path) -> None:
    settings = settings_of(file, MINIMAL)
    assert str(settings.listen.address) == "0.0.0.0:3030"
    assert str(settings.admin.listen) == "127.0.0.1:9464"
    assert settings.store.url.get_secret_value() == "memory://"
    assert (settings.store.max_staleness, settings.tokens.leeway, settings.tokens.access_token_ttl) == (5, 0, 1800)
    assert (settings.timeouts.request_header, settings.timeouts.idle) == (10, 75)
    assert settings.trusted_proxies == ()
    assert settings.proxy_headers == ()


def test_settings_cannot_be_changed(file: Path) -> None:
    settings = settings_of(file, MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        settings.workers = 2  # type: ignore[misc]


def test_no_representation_shows_a_secret(file: Path) -> None:
    document = changed(
        clients=[{"client_id": "c", "client_secret": "canary-1"}],
        store__url="redis://:canary-2@h",
        tokens__signing_keys=[{"kid": "1", "alg": "HS256", "secret": "canary-3" * 4}],
    )
    settings = settings_of(file, document)
    assert "canary" not in repr(settings) + str(settings) + settings.model_dump_json()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a text for a number": (changed(workers="2"), "workers: "),
    "a truth for a number": (changed(workers=True), "workers: "),
    "no worker": (changed(workers=0), "workers: "),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)
