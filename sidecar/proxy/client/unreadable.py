"""Why a client's stream cannot be read any further."""

import re
from typing import Final, NamedTuple

from aiohttp.http_exceptions import LineTooLong

from sidecar.core.causes import Cause, Fault
from sidecar.core.reasons import Reason

_RAW_TARGET: Final = re.compile(rb"[A-Z]+ [!-~]*[\x80-\xff][!-~\x80-\xff]* HTTP/1\.[01]\r\n")


class Unreadable(NamedTuple):
    """Why the rest of a stream cannot be read; `cause` explains the reason, if known."""

    reason: Reason
    cause: Fault | None = None

    @property
    def known(self) -> Fault | None:
        """The cause, if it belongs to the reason."""
        return self.cause if self.cause is not None and self.cause.reason is self.reason else None

    @property
    def detail(self) -> str | None:
        """The sentence that explains it to the client."""
        return self.known and f"{self.known.cause.sentence[:1].upper()}{self.known.cause.sentence[1:]}."


def reason_of(exc: Exception, request_line: int) -> Reason:
    """The reason behind an exception of the parser. aiohttp raises the same error for every line that is too long; only its
    limit tells which line it was."""
    if isinstance(exc, LineTooLong):
        return Reason.REQUEST_LINE_TOO_LONG if exc.args[1] == request_line else Reason.HEADERS_TOO_LARGE
    return Reason.MALFORMED_REQUEST


def mistake_in(data: bytes) -> Fault | None:
    """The known client mistake behind a head that the parser rejected, if it is one."""
    if data.startswith(b"PRI * HTTP/2.0"):
        return Fault(Cause.HTTP2_PRIOR_KNOWLEDGE)
    if data[:2] == b"\x16\x03":
        return Fault(Cause.TLS_TO_PLAIN_PORT)
    return Fault(Cause.TARGET_NOT_ENCODED) if _RAW_TARGET.match(data) else None
