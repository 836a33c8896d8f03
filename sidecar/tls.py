"""TLS contexts with the defaults of the standard library, and certificates that are reloaded when their files change."""

import ssl
from collections.abc import Callable
from pathlib import Path


class InvalidTls(ValueError):
    """A certificate, key or CA cannot be used. The message says which."""


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # Without `password`, OpenSSL would prompt for the passphrase of a key on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as exc:
        reason = exc.reason if isinstance(exc, ssl.SSLError) and exc.reason else exc.strerror
        raise InvalidTls(f"certificate and key cannot be used together: {reason}") from None


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except OSError as exc:
        raise InvalidTls(f"the CA file cannot be used: {exc.strerror or 'no certificate in it'}") from None


def server_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """The context for the public listener: TLS 1.2 or later, HTTP/1.1. With `client_ca`, a client may send a certificate that
    this CA signed; any other certificate fails the handshake. Raises `InvalidTls`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, certificate, key)
    if client_ca is not None:
        _trust(context, client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def upstream_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """The context for connections to the upstream, whose certificate is always verified against `ca` or the system's CAs. With
    `certificate` and `key`, the sidecar sends a client certificate. Raises `InvalidTls`."""
    context = ssl.create_default_context()
    if ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _trust(context, ca)
    if certificate is not None and key is not None:
        _load(context, certificate, key)
    return context


class CertificateWatch:
    """Creates a new context for new connections when a file changes. Existing connections are not affected. Kubernetes changes
    files by moving a symlink, so contents are compared, not times.

    The context in use is not reloaded but replaced: it is not possible to remove a CA from it, and a client could resume a
    session that it opened with a certificate that is no longer trusted.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        client_ca: Path | None,
        *,
        apply: Callable[[ssl.SSLContext], None],
        report: Callable[[str | None], None],
    ) -> None:
        self._files = (certificate, key, client_ca)
        self._apply = apply
        self._report = report
        self._seen = self._contents()
        self._unreadable = False

    def _contents(self) -> tuple[bytes, ...] | None:
        """The contents of the files; `None` if one of them cannot be read."""
        try:
            return tuple(file.read_bytes() for file in self._files if file is not None)
        except OSError:
            return None

    def check(self) -> None:
        """Check the files; call this regularly. It calls `report` with `None` when the files were reloaded, or with the reason
        why they cannot be used. The old context then stays in use."""
        contents = self._contents()
        before, self._unreadable = self._unreadable, contents is None
        if contents is None:
            if not before:
                self._report("one of the files cannot be read")
        elif contents != self._seen:
            self._seen = contents
            self._change()
        elif before:
            self._report(None)

    def _change(self) -> None:
        try:
            context = server_context(*self._files)
        except InvalidTls as exc:
            self._report(str(exc))
            if self._contents() != self._seen:
                self._seen = None  # they changed just then: the contents that were read may be valid
        else:
            self._apply(context)
            self._report(None)
