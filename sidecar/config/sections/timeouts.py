"""The section `timeouts`: how long the sidecar waits."""

from sidecar.config.sections.model import Model
from sidecar.config.values import PositiveDuration


class Timeouts(Model):
    """How long the sidecar waits for clients and upstream."""

    request_header: PositiveDuration = 10.0
    """Until the head of a request is complete. After that the sidecar answers 408."""
    idle: PositiveDuration = 75.0
    """For a connection without a request, and for a client that stops in the middle of a body or stops reading."""
    connect: PositiveDuration = 5.0
    """Until the API is connected. After that the sidecar answers 504."""
    response: PositiveDuration = 60.0
    """Until the API's response begins. After that the sidecar answers 504."""
    stream: PositiveDuration = 300.0
    """Between two parts of the body of a response."""
