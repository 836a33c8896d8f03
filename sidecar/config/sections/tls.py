"""The section `tls`: TLS on the public listener."""

from typing import Self

from pydantic import model_validator

from sidecar.config.sections.model import Model
from sidecar.config.values import LocalFile, invalid
from sidecar.tls import InvalidTls, server_context


class Tls(Model):
    """TLS on the public listener. The sidecar reads the files again when they change."""

    certificate: LocalFile
    """A PEM with the certificate and its chain."""
    key: LocalFile
    """The PEM of its private key."""
    client_ca: LocalFile | None = None
    """A client may show a certificate signed by this CA. The API sees it as `X-Forwarded-Client-Cert`."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        try:
            server_context(self.certificate, self.key, self.client_ca)
        except InvalidTls as exc:
            raise invalid(str(exc)) from None
        return self
