"""TLS contexts: modern defaults of the standard library, and certificates that are read again when their files change."""

import ssl
from collections.abc import Callable
from pathlib import Path


class InvalidTls(ValueError):
    """Certificate, key or CA cannot be used; the text says which."""


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # A key with a passphrase would be asked for on the terminal otherwise.
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
    """For the public listener: TLS 1.2 or later, HTTP/1.1. With `client_ca` a client may show a certificate that it signed,
    and a wrong one ends the handshake. Raises `InvalidTls`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, certificate, key)
    if client_ca is not None:
        _trust(context, client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def upstream_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """For connections to the upstream, whose certificate is always checked: against `ca`, or the system's CAs. With
    `certificate` and `key` we show one too. Raises `InvalidTls`."""
    context = ssl.create_default_context()
    if ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _trust(context, ca)
    if certificate is not None and key is not None:
        _load(context, certificate, key)
    return context


class CertificateWatch:
    """Makes a new context when a file changes, for new connections; those that are there stay. Kubernetes changes files by
    moving a symlink, so content is compared, not times.

    A new context, and not new content in the one in use: from that a CA could never be taken away, and a client could resume
    a session that it opened with a certificate which is trusted no longer.
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
        """`None` when one of the files cannot be read."""
        try:
            return tuple(file.read_bytes() for file in self._files if file is not None)
        except OSError:
            return None

    def check(self) -> None:
        """To be called now and then. `report` is told `None` when the files were read again, or why they cannot be used: then
        the old context stays."""
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
                self._seen = None  # they changed at that moment: what was read may be right all the same
        else:
            self._apply(context)
            self._report(None)
