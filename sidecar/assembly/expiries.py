"""When the certificates in use expire."""

from pathlib import Path
from typing import Final

from cryptography import x509

from sidecar.config import settings as config
from sidecar.core.store_address import read_store_address

_OF_STORE: Final = {"ssl_certfile": "store", "ssl_ca_certs": "store_ca"}

_Stamp = tuple[int, ...]


class Expiries:
    """The certificates that the settings name, by use: `listener`, `client_ca`, `upstream` (the sidecar's own certificate for
    the API), `upstream_ca`, `store` (likewise for Redis) and `store_ca`. Those of listener and upstream are as they were when
    they were last taken into use: a file that cannot be used does not hide that the old certificate is about to expire."""

    def __init__(self, settings: config.Settings) -> None:
        self._listener: dict[str, float] = {}
        self._upstream: dict[str, float] = {}
        self._of_store: dict[str, Path] = {}
        self._store: tuple[_Stamp, dict[str, float]] | None = None
        self.use(settings)

    def __repr__(self) -> str:
        return f"<Expiries of {' '.join(self.by_use()) or 'nothing'}>"

    def use(self, settings: config.Settings) -> None:
        """Other settings are in use."""
        self.use_listener(settings)
        self.use_upstream(settings)
        options = read_store_address(settings.store.url.get_secret_value()).options
        self._of_store = {use: Path(options[name]) for name, use in _OF_STORE.items() if name in options}
        self._store = None

    def use_listener(self, settings: config.Settings) -> None:
        """The files of the section `tls` were read."""
        tls = settings.tls
        self._listener = _expiries({"listener": tls.certificate, "client_ca": tls.client_ca}) if tls else {}

    def use_upstream(self, settings: config.Settings) -> None:
        """The files of the section `upstream.tls` were read."""
        tls = settings.upstream.tls
        self._upstream = _expiries({"upstream": tls.certificate, "upstream_ca": tls.ca})

    def by_use(self) -> dict[str, float]:
        """Epoch seconds by use. Each connection to Redis reads its files, so these are read here when they have changed."""
        stamp = tuple(part for path in self._of_store.values() for part in _stamp(path))
        if self._store is None or self._store[0] != stamp:
            self._store = (stamp, _expiries(self._of_store))
        return {**self._listener, **self._upstream, **self._store[1]}


def expiry_of(file: Path, *, any_of: bool = False) -> float | None:
    """When the certificates in a PEM file expire, in epoch seconds: the first of them, such as of a chain, or with `any_of` the
    last, such as of a list of CAs. `None` for a file that cannot be read."""
    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return None
    return (max if any_of else min)(each.not_valid_after_utc.timestamp() for each in certificates)


def _expiries(files: dict[str, Path | None] | dict[str, Path]) -> dict[str, float]:
    found = {}
    for use, path in files.items():
        expiry = expiry_of(path, any_of=use.endswith("_ca")) if path is not None else None
        if expiry is not None:
            found[use] = expiry
    return found


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
