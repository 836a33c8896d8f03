"""The section `drain`: how the sidecar leaves."""

from sidecar.config.sections.model import Model
from sidecar.config.values import Duration, PositiveDuration


class Drain(Model):
    """How the sidecar leaves.

    `delay` is how long new connections are still served after the soft drain has begun, for balancers to notice. `timeout` is
    how long requests have to finish after SIGTERM.
    """

    delay: Duration = 5.0
    timeout: PositiveDuration = 25.0
