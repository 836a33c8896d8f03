"""Neither the API nor the client can tell that the sidecar is there: generated exchanges arrive as they were sent.

What is known to differ is listed here: hop-by-hop fields, the token, and the fields that we set.
"""

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.process import Sidecar
from tests.support.raw import exchange, read_all, read_response
from tests.support.upstream import Received, Upstream, reply, saying

OURS = {"x-auth-client-id", "x-auth-subject", "x-auth-scope", "x-auth-roles"}
FORWARDED = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
SPECIAL = {
    "authorization", "access_token", "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer",
    "upgrade", "expect", "proxy-connection", "proxy-authorization", "forwarded", "x-forwarded-client-cert", "sec-websocket-key1",
}  # fmt: skip

token_chars = st.sampled_from("!#$%&'*+-.^_`|~0123456789abcXYZ")
names = st.one_of(
    st.sampled_from(["Accept", "COOKIE", "content-type", "User-Agent", "X-Custom", "If-None-Match", "Range", "Origin"]),
    st.text(token_chars, min_size=1, max_size=12),
).filter(
    lambda name: (
        name.lower() not in SPECIAL and name.lower().replace("_", "-").replace(".", "-") not in OURS | FORWARDED
    )
)
visible = st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f", exclude_categories=["Cc"])
values = st.one_of(
    st.just(""), st.text(visible, min_size=1, max_size=30),
    st.tuples(st.text(visible, min_size=1, max_size=9), st.text(visible, min_size=1, max_size=9)).map(" \t ".join),
).map(lambda value: value.strip("\xa0\x85"))  # fmt: skip
fields = st.lists(st.tuples(names, values), max_size=8)
SINGLE = {"content-type", "user-agent"}  # two of one of these make a request malformed (RFC 9110 section 5.3)


def singled(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without the second one of what must be single."""
    seen: set[str] = set()
    kept = []
    for name, value in pairs:
        if name.lower() not in seen:
            kept.append((name, value))
        seen |= {name.lower()} & SINGLE
    return kept


segments = st.text(st.sampled_from("abcXYZ019-._~!$&'()*+,:@"), min_size=1, max_size=8).filter(lambda s: s.strip("."))
encoded = st.sampled_from(["%20", "%C3%A4", "%e4", "%25x", "%7E", "%41", "%3F", "%23"])
paths = st.lists(st.lists(st.one_of(segments, encoded), min_size=1, max_size=3).map("".join), max_size=4).map(
    lambda s: "/" + "/".join(s)
)
queries = st.one_of(
    st.just(""), st.text(st.sampled_from("abc=&%20/?:@!$'()*+,;[]{}|^`<>"), max_size=20).map("?".__add__)
)
bodies = st.binary(max_size=3000)
framings = st.sampled_from(["none", "length", "chunked"])
cuts = st.lists(st.integers(1, 900), max_size=6)


class Request(NamedTuple):
    method: str
    target: str
    fields: list[tuple[str, str]]
    framing: str
    body: bytes
    cuts: list[int]


class Answer(NamedTuple):
    status: int
    phrase: str
    fields: list[tuple[str, str]]
    framing: str
    body: bytes
    cuts: list[int]
    trailers: list[tuple[str, str]]
    informational: list[int]


requests = st.builds(
    Request,
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND", "REPORT", "SEARCH"]),
    st.builds(str.__add__, paths, queries),
    fields.map(singled),
    framings,
    bodies,
    cuts,
)
answers = st.builds(
    Answer,
    st.sampled_from(
        [200, 201, 202, 203, 206, 207, 299, 301, 304, 204, 400, 401, 403, 404, 409, 418, 429, 500, 503, 599]
    ),
    st.text(st.sampled_from("abc XYZ-"), max_size=10).map(str.strip),
    st.lists(st.one_of(st.tuples(names, values), st.tuples(st.just("Set-Cookie"), values)), max_size=8),
    st.sampled_from(["length", "chunked", "close"]),
    bodies,
    cuts,
    st.lists(st.tuples(names, values), max_size=3),
    st.lists(st.sampled_from([102, 103]), max_size=2),
)


def pieces(body: bytes, sizes: list[int]) -> Iterator[bytes]:
    position = 0
    for size in sizes:
        if position < len(body):
            yield body[position : position + size]
            position += size
    if position < len(body):
        yield body[position:]


def chunked(body: bytes, sizes: list[int], trailers: list[tuple[str, str]]) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in pieces(body, sizes))
    return chunks + b"0\r\n" + lines(trailers) + b"\r\n"


def lines(pairs: list[tuple[str, str]]) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in pairs)


def write_request(request: Request, token: str) -> bytes:
    head = f"{request.method} {request.target} HTTP/1.1\r\nHost: api.example\r\n".encode() + lines(request.fields)
    head += f"Authorization: Bearer {token}\r\nConnection: close\r\n".encode()
    if request.framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(request.body) + request.body
    if request.framing == "chunked":
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(request.body, request.cuts, [])
    return head + b"\r\n"


def write_answer(answer: Answer, method: str) -> bytes:
    early = b"".join(b"HTTP/1.1 %d Early\r\nLink: </s.css>\r\n\r\n" % status for status in answer.informational)
    head = early + f"HTTP/1.1 {answer.status} {answer.phrase}\r\n".encode() + lines(answer.fields)
    if answer.framing == "close":
        head += b"Connection: close\r\n"
    if method == "HEAD" or answer.status in (204, 304):
        return head + b"\r\n"
    if answer.framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(answer.body) + answer.body
    if answer.framing == "chunked":
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(answer.body, answer.cuts, answer.trailers)
    return head + b"\r\n" + answer.body


def stripped(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """As a parser gives them: without white space around the values."""
    return [(name, value.strip(" \t")) for name, value in pairs]


@given(requests, answers)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_exchange_arrives_as_it_was_sent(
    sidecar: Sidecar, upstream: Upstream, token: str, request_: Request, answer: Answer
) -> None:
    upstream.answer = saying(write_answer(answer, request_.method), keep=answer.framing != "close")
    upstream.take()
    with socket.create_connection(sidecar.address, timeout=20) as connection:
        connection.sendall(write_request(request_, token))
        raw = read_all(connection)
    (received,) = upstream.take()
    _compare_request(request_, received)
    _compare_answer(answer, request_.method, raw)


def _compare_request(sent: Request, received: Received) -> None:
    assert (received.method, received.target) == (sent.method, sent.target)
    assert received.body == (sent.body if sent.framing != "none" else b"")
    own = [(n, v) for n, v in received.headers if n.lower() not in OURS | FORWARDED | SPECIAL]
    assert own == stripped(sent.fields)
    assert received.values("host") == ["api.example"]
    framing = received.values("content-length"), received.values("transfer-encoding")
    assert framing == {
        "none": ([], []), "length": ([str(len(sent.body))], []), "chunked": ([], ["chunked"]),
    }[sent.framing]  # fmt: skip
    assert [name for name, _ in received.headers if name.lower() in OURS] == [
        "X-Auth-Client-Id", "X-Auth-Subject", "X-Auth-Scope", "X-Auth-Roles",
    ]  # fmt: skip


def _compare_answer(answer: Answer, method: str, raw: bytes) -> None:
    for status in answer.informational:
        expected = b"HTTP/1.1 %d Early\r\nLink: </s.css>\r\n\r\n" % status
        assert raw.startswith(expected)
        raw = raw[len(expected) :]
    head, _, rest = raw.partition(b"\r\n\r\n")
    status_line, *field_lines = head.decode("latin-1").split("\r\n")
    assert status_line == f"HTTP/1.1 {answer.status} {answer.phrase}"
    fields_seen = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in field_lines)]
    own = [(name, value) for name, value in fields_seen if name.lower() not in SPECIAL]
    if not any(name.lower() == "date" for name, _ in answer.fields):
        own = [(name, value) for name, value in own if name.lower() != "date"]
        assert len(own) == len(fields_seen) - 1 - sum(name.lower() in SPECIAL for name, _ in fields_seen)
    assert own == stripped(answer.fields)
    framing = {name.lower(): value for name, value in fields_seen if name.lower() in SPECIAL}
    assert framing.pop("connection") == "close"
    if method == "HEAD" or answer.status in (204, 304):
        assert (framing, rest) == ({}, b"")
    elif answer.framing == "length":
        assert (framing, rest) == ({"content-length": str(len(answer.body))}, answer.body)
    else:
        assert framing == {"transfer-encoding": "chunked"}
        body, trailers = _unchunk(rest)
        assert body == answer.body
        assert trailers == (stripped(answer.trailers) if answer.framing == "chunked" else [])


def _unchunk(data: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            break
        body += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
    assert data.endswith(b"\r\n")
    pairs = [line.decode("latin-1").partition(":") for line in data.split(b"\r\n") if line]
    return body, [(name, value.strip(" \t")) for name, _, value in pairs]


# Single facts.


def test_options_asterisk_and_absolute_targets(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    auth = f"Authorization: Bearer {token}\r\n\r\n"
    assert exchange(sidecar.address, f"OPTIONS * HTTP/1.1\r\nHost: a\r\n{auth}".encode()).status == 200
    assert exchange(sidecar.address, f"GET http://b.example/x?y HTTP/1.1\r\nHost: a\r\n{auth}".encode()).status == 200
    assert exchange(sidecar.address, f"OPTIONS http://b.example HTTP/1.1\r\nHost: a\r\n{auth}".encode()).status == 200
    assert exchange(sidecar.address, f"OPTIONS http://b.example/ HTTP/1.1\r\nHost: a\r\n{auth}".encode()).status == 200
    star, absolute, absolute_star, absolute_root = upstream.take()
    assert star.target == "*"
    assert (absolute_star.target, absolute_star.values("host")) == ("*", ["b.example"])
    assert absolute_root.target == "/"
    assert (absolute.target, absolute.values("host")) == ("/x?y", ["b.example"])


def test_http_1_0_clients(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """No chunks for them: the end of the connection ends the body, unless there is a length and keep-alive."""
    upstream.answer = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    head = f"GET /x HTTP/1.0\r\nAuthorization: Bearer {token}\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head.encode() + b"\r\n")
        assert read_all(connection).endswith(b"\r\n\r\nabc")
    upstream.answer = saying(reply(200, b"abc"))
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        for _ in range(2):
            connection.sendall(head.encode() + b"Connection: keep-alive\r\n\r\n")
            response = read_response(connection)
            assert (response.body, response.values("connection")) == (b"abc", ["keep-alive"])


@pytest.mark.parametrize("name", ["content-length", "transfer-encoding", "connection"])
def test_a_trailer_cannot_frame(sidecar: Sidecar, upstream: Upstream, token: str, name: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{name}: 5\r\nX-Sum: 1\r\n\r\n"
    upstream.answer = saying(answer.encode(), keep=False)
    head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head.encode())
        raw = read_all(connection)
    assert name not in raw.partition(b"\r\n\r\n")[2].decode().lower()


@pytest.mark.parametrize("zeros", [1, 2, 20, 4200, 4300, 5000, 20_000])
def test_a_length_goes_on_without_zeros_before_it(sidecar: Sidecar, upstream: Upstream, token: str, zeros: int) -> None:
    """Some readers take 010 for eight, and some drop what is too long: however many there are, they say nothing."""
    head = f"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
    inner = f"GET /smuggled HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        for _ in range(2):
            connection.sendall(f"{head}content-length: {'0' * zeros}{len(inner)}\r\n\r\n{inner}".encode())
            assert read_response(connection, "POST").status == 200
        connection.sendall(f"{head}Content-Length: {'0' * zeros}\r\n\r\n".encode())
        assert read_response(connection, "POST").status == 200
    first, second, last = upstream.take()
    for received in (first, second):
        assert (received.target, received.values("content-length")) == ("/x", [str(len(inner))])
        assert received.body == inner.encode()
    assert (last.values("content-length"), last.body) == (["0"], b"")


def test_a_length_with_zeros_and_a_token_in_the_body(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    body = f"a=1&access_token={token}"
    head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    assert exchange(sidecar.address, f"{head}CONTENT-Length: 0{len(body)}\r\n\r\n{body}".encode()).status == 200
    (received,) = upstream.take()
    assert (received.body, received.values("content-length")) == (b"a=1", ["3"])


@pytest.mark.parametrize("spelling", ["CHUNKED", "Chunked", "chunked"])
def test_chunked_goes_on_in_one_spelling(sidecar: Sidecar, upstream: Upstream, token: str, spelling: str) -> None:
    head = f"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: {spelling}\r\n\r\n"
    assert exchange(sidecar.address, head.encode() + b"3\r\nabc\r\n0\r\n\r\n").status == 200
    (received,) = upstream.take()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in received.raw
    assert received.body == b"abc"


@pytest.mark.parametrize("zeros", [1, 2, 20, 4200, 5000, 20_000])
def test_the_apis_length_goes_on_without_zeros_before_it(
    sidecar: Sidecar, upstream: Upstream, token: str, zeros: int
) -> None:
    answer = f"HTTP/1.1 200 OK\r\nX-Zeros: {zeros}\r\nX-{zeros}: 1\r\nContent-Length: {'0' * zeros}5\r\n\r\nhello"
    upstream.answer = saying(answer.encode())
    head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    for _ in range(3):  # what an API repeats is read in another way
        response = exchange(sidecar.address, head.encode())
        assert (response.values("content-length"), response.body) == (["5"], b"hello")


def test_the_apis_chunked_goes_on_in_one_spelling(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    upstream.answer = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    response = exchange(sidecar.address, head.encode())
    assert (response.values("transfer-encoding"), response.body) == (["chunked"], b"abc")
