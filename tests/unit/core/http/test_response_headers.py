"""core.http.response_headers: what of an upstream's fields goes on, and how its body is framed."""

import pytest

from sidecar.core.http.response_headers import (
    InvalidResponse,
    is_event_stream,
    keep_alive_timeout,
    read_response_headers,
    trailer_pieces,
)  # fmt: skip


def passed_on(*fields: tuple[bytes, bytes]) -> bytes:
    return b"".join(read_response_headers(fields).pieces)


def test_order_spelling_and_values_stay() -> None:
    fields = ((b"X-B", b"1"), (b"x-a", b"2"), (b"X-B", b"3 , 4"))
    assert passed_on(*fields) == b"X-B: 1\r\nx-a: 2\r\nX-B: 3 , 4\r\n"


def test_white_space_around_a_value_is_no_part_of_it() -> None:
    """RFC 9112 section 5."""
    headers = read_response_headers([(b"Content-Length", b" 2\t"), (b"X-A", b" b ")])
    assert (headers.length, b"".join(headers.pieces)) == (2, b"Content-Length: 2\r\nX-A: b\r\n")


@pytest.mark.parametrize(
    "name", [b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Upgrade", b"Transfer-Encoding"]
)
def test_what_is_for_one_connection_ends_here(name: bytes) -> None:
    assert passed_on((name, b"chunked")) == b""


def test_what_connection_names_ends_here() -> None:
    assert passed_on((b"Connection", b"close, X-Hop"), (b"X-Hop", b"1"), (b"X-End", b"2")) == b"X-End: 2\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Content-Length", b"1"), (b"Content-Length", b"1")],
        [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")],
        [(b"Content-Length", b"x")],
        [(b"Content-Length", b"")],
        [(b"Content-Length", b"-1")],
        [(b"Content-Length", b"1, 1")],
        [(b"Transfer-Encoding", b"gzip")],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"chunked\t")],
    ],
)
def test_framing_that_cannot_be_trusted_is_invalid(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(InvalidResponse):
        read_response_headers(fields)


def test_what_is_said_of_the_answer_is_read() -> None:
    headers = read_response_headers([(b"Date", b"x"), (b"Upgrade", b"websocket"), (b"Keep-Alive", b"timeout=5")])
    assert (headers.dated, headers.upgrade, headers.keep_alive) == (True, b"websocket", b"timeout=5")
    assert read_response_headers([]) == ([], None, False, b"", False, b"")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5.0), (b"timeout=5, max=100", 5.0), (b"max=100, timeout=5", 5.0), (b"TIMEOUT=5", 5.0), (b'timeout="5"', 5.0),
        (b"max=100; timeout=7", 7.0), (b"timeout=0", 0.0), (b"", None), (b"max=5", None), (b"timeout=", None), (b"timeout=x", None),
        (b"xtimeout=5", None), (b"timeout=-5", None), (b"timeout=9999999999", None),
    ],
)  # fmt: skip
def test_for_how_long_a_server_keeps_a_connection(value: bytes, seconds: float | None) -> None:
    assert keep_alive_timeout(value) == seconds


def test_trailers_that_frame_or_control_end_here() -> None:
    """RFC 9110 section 6.5.1."""
    fields = [(b"X-Sum", b" 1 "), (b"Content-Length", b"5"), (b"Connection", b"x"), (b"Date", b"x")]
    assert b"".join(trailer_pieces(fields)) == b"X-Sum: 1\r\n"


RESPONSES = {
    (): (b"", None, False),
    ((b"Content-Length", b"5"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")): (
        b"Content-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n",
        5,
        False,
    ),
    ((b"Content-length", b"005"), (b"X", b"1")): (b"Content-length: 5\r\nX: 1\r\n", 5, False),
    ((b"Content-Length", b"0" * 5000),): (b"Content-Length: 0\r\n", 0, False),
    ((b"Content-Length", b"0" * 5000 + b"7"),): (b"Content-Length: 7\r\n", 7, False),
    ((b"Transfer-Encoding", b"Chunked"), (b"Connection", b"keep-alive"), (b"Keep-Alive", b"1")): (b"", None, True),
    ((b"Connection", b"x-hop, set-cookie"), (b"X-Hop", b"1"), (b"Set-Cookie", b"a")): (
        b"Set-Cookie: a\r\n",
        None,
        False,
    ),
}


@pytest.mark.parametrize(("fields", "expected"), RESPONSES.items())
def test_response(fields: tuple[tuple[bytes, bytes], ...], expected: tuple[bytes, int | None, bool]) -> None:
    headers = read_response_headers(fields)
    assert (b"".join(headers.pieces), headers.length, headers.chunked) == expected


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Content-Length", b"1"), (b"Content-Length", b"1")],
        [(b"Content-Length", b"+1")],
        [(b"Content-Length", b"")],
        [(b"Transfer-Encoding", b"gzip")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"1")],
    ],
)
def test_response_with_doubtful_framing_is_invalid(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(InvalidResponse):
        read_response_headers(fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([(b"Content-Type", b"text/event-stream")], True),
        ([(b"X-A", b"1"), (b"content-TYPE", b" Text/Event-Stream; charset=utf-8")], True),
        ([(b"Content-Type", b"text/plain")], False),
        ([(b"X-A", b"text/event-stream")], False),
        ([], False),
    ],
)
def test_an_event_stream_is_recognised(fields: list[tuple[bytes, bytes]], expected: bool) -> None:
    headers = read_response_headers(fields)
    headers.pieces.append(b"Date: now\r\n")  # as the reader adds it
    assert is_event_stream(headers) is expected
