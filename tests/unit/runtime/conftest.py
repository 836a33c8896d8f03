"""The log, for the tests of what tells an operator something."""

import logging

import pytest


@pytest.fixture(autouse=True)
def log_that_is_heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test before may have begun to write logs in its own way."""
    logger = logging.getLogger("sidecar")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "disabled", False)
    caplog.set_level(logging.INFO, "sidecar")
