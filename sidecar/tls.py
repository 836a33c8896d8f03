"""Creates TLS contexts with the modern defaults of the standard library, and reads certificates again when they change."""

import ssl
from collections.abc import Callable
from pathlib import Path


class InvalidTls(ValueError):
    """The certificate, key or CA cannot be used. The message says which."""


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # Without this, OpenSSL would prompt on the terminal for the passphrase of an encrypted key.
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
    """Create the context of the public listener: TLS 1.2 or later, HTTP/1.1. Raises `InvalidTls`.

    With `client_ca`, a client may present a certificate that this CA signed. An invalid certificate ends the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, certificate, key)
    if client_ca is not None:
        _trust(context, client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def upstream_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Create the context of connections to the upstream. Raises `InvalidTls`.

    The sidecar always checks the upstream's certificate, against `ca` or else against the system's CAs. With `certificate`
    and `key`, the sidecar presents a certificate too.
    """
    context = ssl.create_default_context()
    if ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _trust(context, ca)
    if certificate is not None and key is not None:
        _load(context, certificate, key)
    return context


class CertificateWatch:
    """Creates a new context for new connections when a file changes. Existing connections are unaffected.

    `create` is `server_context` or `upstream_context`, and `files` are its arguments.

    The watch compares the content of the files, not their times, because Kubernetes changes files by moving a symlink.

    It creates a new context instead of loading new content into the current one. A CA could never be removed from the
    current context, and a client could resume a session that it opened with a certificate that is no longer trusted.
    """

    def __init__(
        self,
        create: Callable[..., ssl.SSLContext],
        files: tuple[Path | None, ...],
        *,
        apply: Callable[[ssl.SSLContext], None],
        report: Callable[[str | None], None],
    ) -> None:
        self._create = create
        self._files = files
        self._apply = apply
        self._report = report
        self._seen = self._contents()
        self._unreadable = False

    def _contents(self) -> tuple[bytes, ...] | None:
        """Return the content of the files, or `None` when one of them cannot be read."""
        try:
            return tuple(file.read_bytes() for file in self._files if file is not None)
        except OSError:
            return None

    def check(self) -> None:
        """Check the files for changes. Call this periodically.

        This calls `report` with `None` when it has read the files again, or with the reason why they cannot be used. In the
        second case the old context stays in use.
        """
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
            context = self._create(*self._files)
        except InvalidTls as exc:
            self._report(str(exc))
            if self._contents() != self._seen:
                # The files changed meanwhile, so the current ones may be valid: try again at the next check.
                self._seen = None
        else:
            self._apply(context)
            self._report(None)
