"""The section `tls`: TLS on the public listener."""

from typing import Self

from pydantic import model_validator

from sidecar.config.sections.model import Model
from sidecar.config.values import LocalFile, invalid
from sidecar.tls import InvalidTls, server_context


class Tls(Model):
    """TLS on the public listener. The sidecar reads the files again when they change."""

    certificate: LocalFile
    key: LocalFile
    client_ca: LocalFile | None = None

    @model_validator(mode="after")
    def _usable(self) -> Self:
        try:
            server_context(self.certificate, self.key, self.client_ca)
        except InvalidTls as exc:
            raise invalid(str(exc)) from None
        return self
