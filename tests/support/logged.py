"""Events, and the lines that the log has of them."""

import io
import json
from typing import Any, Final

from sidecar.core.events import Decision, RequestDone
from sidecar.core.reasons import Reason

TOKEN: Final = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


def done(decision: Decision, reason: Reason | None = None, path: str = "/x") -> RequestDone:
    """A request that went well, or was refused for a reason."""
    status = reason.status if reason else 200
    return RequestDone(decision, status, 0.0123, None, reason, "GET", path, "c", "10.0.0.1")


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines so far."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]
