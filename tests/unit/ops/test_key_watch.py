"""ops.key_watch: the operator hears of a new signer, and of none."""

import logging

import pytest

from sidecar.core.jose.keys import KeyRing, SigningKey, Window
from sidecar.ops.key_watch import KeyWatch


def test_changes_are_logged_once_and_lapses_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sidecar")
    old = SigningKey.hmac("old", "HS256", "k" * 32, Window(None, 100))
    new = SigningKey.hmac("new", "HS256", "k" * 32, Window(100, 200))
    now = 0.0
    watch = KeyWatch(logging.getLogger("sidecar"), lambda: KeyRing([old, new]), lambda: now)

    def heard(at: float) -> list[tuple[str, str]]:
        nonlocal now
        now = at
        caplog.clear()
        watch.check(1000 + at)
        return [(record.msg, record.kid) for record in caplog.records]  # type: ignore[attr-defined]

    assert heard(99) == []
    assert heard(100) == [("signing_key_changed", "new")]
    assert heard(199) == []
    assert heard(200) == [("signing_keys_lapsed", "new")]
    assert heard(259) == []
    assert heard(260) == [("signing_keys_lapsed", "new")]
