"""proxy.upstream.faults: which cause an error is. What the system, OpenSSL and uvloop raise is met in tests/e2e/test_who_failed.py, too."""

import errno
import os
import socket
import ssl

import pytest

from sidecar.core.causes import Cause
from sidecar.proxy.upstream.faults import lost, unreachable, unreadable


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] whatever")
    error.reason = reason
    return error


def unverified(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "self-signed certificate"
    return error


# uvloop puts several errors into one without a number.
SEVERAL = "Multiple exceptions: [Errno 101] Network is unreachable, [Errno 111] Connection refused"

TCP = [
    (socket.gaierror(-2, "Name or service not known"), Cause.NAME_NOT_RESOLVED),
    (UnicodeError("label empty or too long"), Cause.NAME_NOT_RESOLVED),
    (ValueError("server_hostname cannot be an empty string"), Cause.CONNECT_FAILED),
    (TimeoutError(), Cause.CONNECT_TIMEOUT),
    (system(errno.ETIMEDOUT), Cause.CONNECT_TIMEOUT),
    (system(errno.ECONNREFUSED), Cause.REFUSED),
    (system(errno.ENETUNREACH), Cause.NO_ROUTE),
    (system(errno.EHOSTUNREACH), Cause.NO_ROUTE),
    (system(errno.ECONNRESET), Cause.CONNECT_FAILED),
    (system(errno.EACCES), Cause.CONNECT_FAILED),  # a firewall may say so; there is no file
    (OSError(SEVERAL), Cause.REFUSED),
    (OSError("whatever"), Cause.CONNECT_FAILED),
    *((system(number), Cause.NO_SOCKETS) for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)),
]
FILE = [
    (system(errno.ENOENT), Cause.SOCKET_MISSING),
    (system(errno.ENOTDIR), Cause.SOCKET_MISSING),
    (system(errno.EACCES), Cause.SOCKET_NOT_PERMITTED),
    (system(errno.EPERM), Cause.SOCKET_NOT_PERMITTED),
    (system(errno.ECONNREFUSED), Cause.REFUSED),
    (system(errno.EAGAIN), Cause.CONNECT_FAILED),  # its backlog is full
    (system(errno.EMFILE), Cause.NO_SOCKETS),
]
TLS = [
    (unverified(9), Cause.CERTIFICATE_NOT_YET_VALID),
    (unverified(10), Cause.CERTIFICATE_EXPIRED),
    (unverified(18), Cause.CERTIFICATE_NOT_TRUSTED),
    (unverified(20), Cause.CERTIFICATE_NOT_TRUSTED),
    (unverified(62), Cause.CERTIFICATE_NAME_MISMATCH),
    (unverified(64), Cause.CERTIFICATE_NAME_MISMATCH),
    (unverified(10**9), Cause.CERTIFICATE_NOT_TRUSTED),
    (tls("WRONG_VERSION_NUMBER"), Cause.SPEAKS_NO_TLS),
    (tls("RECORD_LAYER_FAILURE"), Cause.SPEAKS_NO_TLS),
    (tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), Cause.CLIENT_CERTIFICATE_REFUSED),
    (tls("SSL/TLS_ALERT_BAD_CERTIFICATE"), Cause.CLIENT_CERTIFICATE_REFUSED),
    (tls("TLSV1_ALERT_UNKNOWN_CA"), Cause.CLIENT_CERTIFICATE_REFUSED),
    (tls("TLSV1_ALERT_PROTOCOL_VERSION"), Cause.TLS_FAILED),
    (ssl.SSLError("without a reason"), Cause.TLS_FAILED),
    (ssl.SSLCertVerificationError("without a code"), Cause.CERTIFICATE_NOT_TRUSTED),
    (ConnectionResetError(), Cause.TLS_FAILED),
    (system(errno.ECONNREFUSED), Cause.REFUSED),
]


@pytest.mark.parametrize(
    ("error", "cause", "over"),
    [(*each, "tcp") for each in TCP] + [(*each, "file") for each in FILE] + [(*each, "tls") for each in TLS],
)
def test_an_error_has_one_cause(error: OSError | ValueError, cause: Cause, over: str) -> None:
    fault = unreachable(error, secure=over == "tls", by_file=over == "file")
    assert fault.cause is cause
    assert "whatever" not in fault.detail, "what we do not know may say too much"


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("error", [None, system(errno.ECONNRESET), system(errno.EPIPE), ssl.SSLError("x"), Exception()])
def test_the_end_of_a_connection_has_a_cause(error: Exception | None, kept: bool) -> None:
    assert lost(error, begun=True, kept=kept).cause is Cause.CUT_SHORT
    of_tls = isinstance(error, ssl.SSLError)
    expected = Cause.KEPT_CONNECTION_CLOSED if kept else Cause.CLOSED_WITHOUT_ANSWER
    assert lost(error, begun=False, kept=kept).cause is (Cause.TLS_FAILED if of_tls else expected)


BEGINNINGS = {
    b"\x15\x03\x03\0\x02\x02\x28": Cause.SPEAKS_TLS,
    b"\x16\x03\x01\0\xff": Cause.SPEAKS_TLS,
    b"\0\0\0\x04\0\0\0\0\0": Cause.SPEAKS_HTTP2,
    b"\0\0\x12\x04\0\0\0\0\0\n": Cause.SPEAKS_HTTP2,
    b"\0\0\x12\x04\0\0\0\0\x01": Cause.NOT_HTTP,
    b"\x15": Cause.NOT_HTTP,
    b"SSH-2.0-OpenSSH": Cause.NOT_HTTP,
    b"": Cause.NOT_HTTP,
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_other_protocols_are_known_by_their_beginning(beginning: bytes) -> None:
    fault = unreadable(beginning, "the parser's message")
    assert fault.cause is BEGINNINGS[beginning]
    assert (fault.note == "the parser's message") == (fault.cause is Cause.NOT_HTTP)
