"""The causes of failures between the sidecar and the API, and of requests that cannot be parsed: one closed list for the log
and for `/readyz`.

A `Reason` is for the client and the metrics. The cause is for the operator: a word to search for, and a sentence that says what
to check. It contains nothing that the API or a client sent.
"""

from enum import Enum
from typing import Final, NamedTuple

from sidecar.core.reasons import Reason

_UNREACHABLE: Final = Reason.UPSTREAM_UNREACHABLE
_INVALID: Final = Reason.UPSTREAM_INVALID
_TIMEOUT: Final = Reason.UPSTREAM_TIMEOUT
_OVERLOADED: Final = Reason.OVERLOADED
_MALFORMED: Final = Reason.MALFORMED_REQUEST


class Cause(Enum):
    """A cause: `(reason, word, sentence)`."""

    # Connecting to the API.
    NAME_NOT_RESOLVED = (_UNREACHABLE, "name_not_resolved", "the host name in upstream.url cannot be resolved")
    REFUSED = (_UNREACHABLE, "refused", "nothing listens at upstream.url: the connection was refused")
    NO_ROUTE = (_UNREACHABLE, "no_route", "there is no way to the host in upstream.url")
    SOCKET_MISSING = (_UNREACHABLE, "socket_missing", "the socket file in upstream.url does not exist")
    SOCKET_NOT_PERMITTED = (
        _UNREACHABLE,
        "socket_not_permitted",
        "the sidecar's user may not open the socket file in upstream.url",
    )
    CONNECT_FAILED = (_UNREACHABLE, "connect_failed", "the system cannot connect to upstream.url")
    CONNECT_TIMEOUT = (_TIMEOUT, "connect_timeout", "there was no connection within timeouts.connect")
    CERTIFICATE_NOT_TRUSTED = (
        _UNREACHABLE,
        "certificate_not_trusted",
        "no trusted CA signed the API's certificate: see upstream.tls.ca",
    )
    CERTIFICATE_NAME_MISMATCH = (
        _UNREACHABLE,
        "certificate_name_mismatch",
        "the API's certificate is for another name: see upstream.tls.server_name",
    )
    CERTIFICATE_EXPIRED = (_UNREACHABLE, "certificate_expired", "the API's certificate has expired")
    CERTIFICATE_NOT_YET_VALID = (
        _UNREACHABLE,
        "certificate_not_yet_valid",
        "the API's certificate is not valid yet: see the clocks",
    )
    CLIENT_CERTIFICATE_REFUSED = (
        _UNREACHABLE,
        "client_certificate_refused",
        "the API refused the sidecar's certificate, or misses one: see upstream.tls.certificate",
    )
    SPEAKS_NO_TLS = (_UNREACHABLE, "speaks_no_tls", "upstream.url says https://, but no TLS is spoken there")
    TLS_FAILED = (_UNREACHABLE, "tls_failed", "the TLS handshake with the API failed")

    # The response.
    CLOSED_WITHOUT_ANSWER = (
        _INVALID,
        "closed_without_answer",
        "the API took the connection and closed it without an answer, as a TLS server does when the URL says http://",
    )
    KEPT_CONNECTION_CLOSED = (
        _INVALID,
        "kept_connection_closed",
        "the API closed a kept connection as a request was on its way: set upstream.idle below its keep-alive time",
    )
    CUT_SHORT = (_INVALID, "cut_short", "the API closed the connection in the middle of its answer")
    SPEAKS_TLS = (_INVALID, "speaks_tls", "upstream.url says http://, but TLS is spoken there: write https://")
    SPEAKS_HTTP2 = (_INVALID, "speaks_http2", "the API answered in HTTP/2: it must speak HTTP/1.1 here")
    NOT_HTTP = (_INVALID, "not_http", "the answer is not readable as HTTP/1.1")
    BAD_FRAMING = (_INVALID, "bad_framing", "nobody can be sure where the answer ends")
    BYTES_AFTER_ANSWER = (_INVALID, "bytes_after_answer", "bytes followed the end of the answer")
    HEAD_TOO_LARGE = (_INVALID, "head_too_large", "the answer's head, its trailers or 1xx answers are too large")
    BAD_SWITCH = (_INVALID, "bad_switch", "the API switched protocols (101) where that is not possible")
    NO_ANSWER = (_TIMEOUT, "no_answer", "the answer did not begin within timeouts.response")
    STALLED = (_TIMEOUT, "stalled", "the answer came no further within timeouts.stream")

    # The sidecar's own limits.
    ALL_CONNECTIONS_BUSY = (_OVERLOADED, "all_connections_busy", "all upstream.max_connections of a worker are in use")
    NO_SOCKETS = (_OVERLOADED, "no_sockets", "the system gave the sidecar no socket for another connection")

    # A request that cannot be parsed.
    HTTP2_PRIOR_KNOWLEDGE = (
        _MALFORMED,
        "http2_prior_knowledge",
        "the client began in HTTP/2 without asking: the sidecar speaks version 1.1",
    )
    TLS_TO_PLAIN_PORT = (_MALFORMED, "tls_to_plain_port", "the client speaks TLS: this port speaks plain HTTP")
    TARGET_NOT_ENCODED = (
        _MALFORMED,
        "target_not_encoded",
        "the request target holds characters that must be percent-encoded, such as letters beyond ASCII",
    )
    NO_PREAMBLE = (
        _MALFORMED,
        "no_preamble",
        "a trusted proxy sent no header of the PROXY protocol: see listen.proxy_protocol",
    )

    def __init__(self, reason: Reason, word: str, sentence: str) -> None:
        self.reason: Final = reason
        self.word: Final = word
        self.sentence: Final = sentence


class Fault(NamedTuple):
    """A cause with a note: the name of a header, or the message of a parser or of the system, never a value. `upstream` is the
    address of the API server concerned, as configured."""

    cause: Cause
    note: str = ""
    upstream: str = ""

    @property
    def reason(self) -> Reason:
        """The reason that the client is told."""
        return self.cause.reason

    @property
    def detail(self) -> str:
        """A sentence for the log."""
        return f"{self.cause.sentence}: {self.note}" if self.note else self.cause.sentence
