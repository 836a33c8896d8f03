"""Maps errors of sockets, TLS and the parser to a `Cause`."""

import errno
import re
import socket
import ssl
from typing import Final

from sidecar.core.causes import Cause, Fault

_BY_NUMBER: Final = {
    errno.ECONNREFUSED: Cause.REFUSED,
    errno.ENETUNREACH: Cause.NO_ROUTE,
    errno.EHOSTUNREACH: Cause.NO_ROUTE,
    errno.ENETDOWN: Cause.NO_ROUTE,
    errno.EADDRNOTAVAIL: Cause.NO_ROUTE,
    errno.ETIMEDOUT: Cause.CONNECT_TIMEOUT,
    errno.ENOENT: Cause.SOCKET_MISSING,
    errno.ENOTDIR: Cause.SOCKET_MISSING,
    errno.EACCES: Cause.SOCKET_NOT_PERMITTED,
    errno.EPERM: Cause.SOCKET_NOT_PERMITTED,
    errno.EMFILE: Cause.NO_SOCKETS,
    errno.ENFILE: Cause.NO_SOCKETS,
    errno.ENOMEM: Cause.NO_SOCKETS,
    errno.ENOBUFS: Cause.NO_SOCKETS,
}
_OF_FILES: Final = frozenset([Cause.SOCKET_MISSING, Cause.SOCKET_NOT_PERMITTED])
_UNVERIFIED: Final = {  # OpenSSL's X509_V_ERR_… numbers
    9: Cause.CERTIFICATE_NOT_YET_VALID,
    10: Cause.CERTIFICATE_EXPIRED,
    62: Cause.CERTIFICATE_NAME_MISMATCH,
    64: Cause.CERTIFICATE_NAME_MISMATCH,  # for an IP address
}
_NO_TLS: Final = frozenset(["WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"])  # RECORD_LAYER_FAILURE since OpenSSL 3.2
_OF_CERTIFICATES: Final = re.compile("ALERT.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)")
_TLS_RECORD: Final = (b"\x15\x03", b"\x16\x03")  # an alert, a handshake
_SETTINGS: Final = re.compile(rb"\0..\x04\0\0{4}", re.DOTALL)  # the preface of an HTTP/2 server (RFC 9113 section 3.4)
_NUMBER: Final = re.compile(r"\[Errno (\d+)\]")


def unreachable(error: OSError | ValueError, *, secure: bool = False, by_file: bool = False) -> Fault:
    """Why no connection could be opened. `secure`: over TLS; `by_file`: over a Unix socket."""
    if isinstance(error, ssl.SSLError):
        return _of_tls(error)
    if isinstance(error, socket.gaierror | UnicodeError):
        return Fault(Cause.NAME_NOT_RESOLVED)
    if isinstance(error, ValueError):
        return Fault(Cause.CONNECT_FAILED, "a name in upstream cannot be used")
    if isinstance(error, TimeoutError):
        return Fault(Cause.CONNECT_TIMEOUT)
    if secure and isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return Fault(Cause.TLS_FAILED, "the API closed the connection")
    cause = _BY_NUMBER.get(_number(error), Cause.CONNECT_FAILED)
    if cause is Cause.CONNECT_FAILED or (cause in _OF_FILES and not by_file):
        return Fault(Cause.CONNECT_FAILED, error.strerror or "")
    return Fault(cause)


def _number(error: OSError) -> int:
    """The error's number. For a name with several addresses, uvloop combines several errors into one without a number: then
    it is the last number in the text."""
    if error.errno is not None:
        return error.errno
    numbers = _NUMBER.findall(str(error))
    return int(numbers[-1]) if numbers else 0


def _of_tls(error: ssl.SSLError) -> Fault:
    """The cause of a TLS error. Errors that do not come from OpenSSL lack its attributes."""
    if isinstance(error, ssl.SSLCertVerificationError):
        cause = _UNVERIFIED.get(getattr(error, "verify_code", 0))
        return Fault(cause) if cause else Fault(Cause.CERTIFICATE_NOT_TRUSTED, getattr(error, "verify_message", ""))
    reason = getattr(error, "reason", None) or ""
    if reason in _NO_TLS:
        return Fault(Cause.SPEAKS_NO_TLS)
    if _OF_CERTIFICATES.search(reason):
        return Fault(Cause.CLIENT_CERTIFICATE_REFUSED)
    return Fault(Cause.TLS_FAILED, reason)


def lost(error: Exception | None, *, begun: bool, kept: bool) -> Fault:
    """Why a connection ended during an exchange. `begun`: the response had begun; `kept`: the connection had carried
    exchanges before."""
    if isinstance(error, ssl.SSLError) and not begun:
        return _of_tls(error)  # in TLS 1.3 the server rejects a certificate after the handshake
    note = (error.strerror or "") if isinstance(error, OSError) else ""
    if begun:
        return Fault(Cause.CUT_SHORT, note)
    return Fault(Cause.KEPT_CONNECTION_CLOSED if kept else Cause.CLOSED_WITHOUT_ANSWER, note)


def unreadable(beginning: bytes, message: str) -> Fault:
    """Why the parser could not read a response. `beginning` are its first bytes, or empty; `message` is the parser's own."""
    if beginning.startswith(_TLS_RECORD):
        return Fault(Cause.SPEAKS_TLS)
    if _SETTINGS.match(beginning):
        return Fault(Cause.SPEAKS_HTTP2)
    return Fault(Cause.NOT_HTTP, message)
