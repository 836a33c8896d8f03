"""The section `timeouts`: how long the sidecar waits."""

from sidecar.config.sections.model import Model
from sidecar.config.values import PositiveDuration


class Timeouts(Model):
    """How long the sidecar waits for clients (`request_header`, `idle`) and upstream (`connect`, `response`, `stream`)."""

    request_header: PositiveDuration = 10.0
    idle: PositiveDuration = 75.0
    connect: PositiveDuration = 5.0
    response: PositiveDuration = 60.0
    stream: PositiveDuration = 300.0
