"""The section `streams`: long-lived responses, and tunnels."""

from sidecar.config.sections.model import Model


class Streams(Model):
    """Long-lived responses, and tunnels such as WebSocket."""

    end_with_token: bool = True
    """Whether a response that still flows, or a tunnel, ends within a second after its token expires or is revoked."""
