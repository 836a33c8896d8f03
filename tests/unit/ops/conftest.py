"""A stream for log lines."""

import io
import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What `configure` writes to; the root logger is as before afterwards."""
    root = logging.getLogger()
    handlers, level, ours = root.handlers[:], root.level, logging.getLogger("sidecar").level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("sidecar").setLevel(ours)
    logging.raiseExceptions = True
