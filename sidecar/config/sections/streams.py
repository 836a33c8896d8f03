"""The section `streams`: responses that go on for long, and tunnels."""

from sidecar.config.sections.model import Model


class Streams(Model):
    """Responses that go on for long, and tunnels such as WebSocket."""

    end_with_token: bool = True
