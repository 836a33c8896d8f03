"""The bytes of the sidecar's own replies (RFC 9112)."""

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from sidecar.core.replies import Reply

_date = (0, b"")


def date_line() -> bytes:
    """The `Date` field (RFC 9110 section 6.6.1), generated once per second."""
    global _date  # noqa: PLW0603  a cache of one value
    second = int(time.time())
    if _date[0] != second:
        _date = (second, f"Date: {formatdate(second, usegmt=True)}\r\n".encode())
    return _date[1]


def encode_reply(reply: Reply, *, head_only: bool, connection: bytes) -> bytes:
    """A whole response; `connection` is the `Connection` line or empty. `head_only` answers HEAD: a length, but no body.

    A 304 has no body and no `Content-Length`, which would be taken for that of the 200; a 204 must not have one (RFC 9110
    section 8.6).
    """
    head = _head(reply.status, reply.headers, len(reply.body))
    return b"".join((head, date_line(), connection, b"\r\n", b"" if head_only else reply.body))


@lru_cache(256)
def _head(status: int, headers: tuple[tuple[str, str], ...], length: int) -> bytes:
    """The part that does not change over time, cached because refusals are often identical."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    framing = "" if status in (204, 304) else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status} {phrase}\r\n{fields}{framing}".encode("latin-1")
