"""The section `drain`: how the sidecar leaves."""

from sidecar.config.sections.model import Model
from sidecar.config.values import Duration, PositiveDuration


class Drain(Model):
    """How the sidecar leaves."""

    delay: Duration = 5.0
    """How long new connections are still served after the soft drain has begun, for balancers to notice."""
    timeout: PositiveDuration = 25.0
    """How long requests may take to finish after SIGTERM. Three seconds later (eight with several workers) the process
    is gone."""
