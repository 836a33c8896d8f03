"""Requests and responses that are read in two ways: refused, with nothing of them passed on."""

import contextlib
import json
import socket

import pytest

from tests.support.process import Sidecar
from tests.support.raw import exchange, read_all, read_response
from tests.support.tcp import wait_until_read
from tests.support.upstream import Received, Upstream, reply, saying

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
MALFORMED = {
    "length and chunked": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "chunked, identity": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "identity": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: identity\r\n\r\n",
    "gzip, chunked": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "xchunked": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two lengths": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "two different lengths": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: +3\r\n\r\nabc",
    "a negative length": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: -3\r\n\r\nabc",
    "a length with an underscore": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: 1_0\r\n\r\n0123456789",
    "a length in hex": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: 0x3\r\n\r\nabc",
    "an empty length": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: \r\n\r\n",
    "a huge length": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: 99999999999999999999999\r\n\r\n",
    "a length spelled for CGI": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: 3\r\nContent_Length: 0\r\n\r\nabc",
    "only a length spelled for CGI": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}CONTENT.LENGTH: 3\r\n\r\n",
    "chunked spelled for CGI": "POST /x HTTP/1.1\r\nHost: a\r\n{auth}Transfer_Encoding: chunked\r\n\r\n",
    **{
        f"{name} spelled with {separator}": f"POST /x HTTP/1.1\r\nHost: a\r\n{{auth}}{name.replace('-', separator)}: 0\r\n\r\n"
        for name in ("Content-Length", "TRANSFER-ENCODING")
        for separator in "!#$%&'*+.^_`|~"
    },
    "* with GET": "GET * HTTP/1.1\r\nHost: a\r\n{auth}\r\n",
    "a space before the colon": "GET /x HTTP/1.1\r\nHost: a\r\n{auth}X-A : b\r\n\r\n",
    "a folded line": "GET /x HTTP/1.1\r\nHost: a\r\n{auth}X-A: b\r\n c\r\n\r\n",
    "a bare LF": "GET /x HTTP/1.1\nHost: a\n{auth}\n\n",
    "a bare CR": "GET /x HTTP/1.1\r\nHost: a\r\n{auth}X-A: b\rX-B: c\r\n\r\n",
    "NUL in a value": "GET /x HTTP/1.1\r\nHost: a\r\n{auth}X-A: b\x00c\r\n\r\n",
    "a line without a colon": "GET /x HTTP/1.1\r\nHost: a\r\n{auth}garbage\r\n\r\n",
    "an empty name": "GET /x HTTP/1.1\r\nHost: a\r\n{auth}: b\r\n\r\n",
    "HTTP/1.0 with chunked": "POST /x HTTP/1.0\r\nHost: a\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/2.0": "GET /x HTTP/2.0\r\nHost: a\r\n{auth}\r\n",
    "RTSP": "OPTIONS /x RTSP/1.0\r\nHost: a\r\n{auth}\r\n",
    "RTSP after empty lines": "\r\n\r\nGET  /x  RTSP/1.1\r\nHost: a\r\n{auth}\r\n",
    "ICE": "SOURCE /x ICE/1.0\r\nHost: a\r\n{auth}\r\n",
    "HTTP/1.2": "GET /x HTTP/1.2\r\nHost: a\r\n{auth}\r\n",
    "HTTP/0.9": "GET /x\r\n\r\n",
    "two hosts": "GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n{auth}\r\n",
    "no host": "GET /x HTTP/1.1\r\n{auth}\r\n",
    "an empty host": "GET /x HTTP/1.1\r\nHost: \r\n{auth}\r\n",
    "a user in the host": "GET /x HTTP/1.1\r\nHost: u@a\r\n{auth}\r\n",
    "a path in the host": "GET /x HTTP/1.1\r\nHost: a/b\r\n{auth}\r\n",
    "an odd method": "G@T /x HTTP/1.1\r\nHost: a\r\n{auth}\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "an HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_request_is_400_and_the_end(sidecar: Sidecar, upstream: Upstream, token: str, case: str) -> None:
    text = MALFORMED[case].replace("{auth}", f"Authorization: Bearer {token}\r\n")
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(text.encode("latin-1") + SMUGGLED)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "invalid_request"
    assert upstream.take() == []


OTHER_PROTOCOLS = ("OPTIONS /x RTSP/1.0", "GET /x RTSP/1.1", "SOURCE /x ICE/1.0")


@pytest.mark.parametrize("line", OTHER_PROTOCOLS)
def test_another_protocol_is_refused_wherever_it_stands(
    sidecar: Sidecar, upstream: Upstream, token: str, line: str
) -> None:
    """Behind requests with and without a body, and cut anywhere in its line."""
    auth = f"Host: a\r\nAuthorization: Bearer {token}\r\n"
    befores = {
        "none": "",
        "no body": f"GET /first HTTP/1.1\r\n{auth}\r\n",
        "a length": f"POST /first HTTP/1.1\r\n{auth}Content-Length: 3\r\n\r\nabc",
        "chunks": f"POST /first HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    }
    request = f"{line}\r\n{auth}\r\n"
    for before in befores.values():
        for cut in (len(before) - 1, len(before), *range(len(before) + 1, len(before) + len(line) + 4, 4)):
            data = (before + request).encode()
            with socket.create_connection(sidecar.address, timeout=10) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(data[: max(cut, 0)])
                wait_until_read(connection)
                connection.sendall(data[max(cut, 0) :])
                answer = read_all(connection)
            assert answer.count(b"HTTP/1.1 400 ") == 1, (before, cut, answer)
            assert {received.target for received in upstream.take()} <= {"/first"}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("cut", [0, 40, 150, 300])
def test_a_body_may_speak_of_other_protocols(
    sidecar: Sidecar, upstream: Upstream, token: str, cut: int, *, chunked: bool
) -> None:
    """In one read with its head, or in reads of its own."""
    text = "".join(f"{line}\r\nHost: a\r\n\r\n" for line in OTHER_PROTOCOLS * 3).encode()
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(text)
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text) if chunked else text
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n%b\r\n\r\n" % (token.encode(), framing)
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        for _ in range(3):
            connection.sendall(head + body[:cut])
            wait_until_read(connection)
            connection.sendall(body[cut:])
            assert read_response(connection, "POST").status == 200
    assert [received.body for received in upstream.take()] == [text] * 3


CHUNKS = {
    "an underscore": b"0_3\r\nabc\r\n0\r\n\r\n",
    "a sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "too large a size": b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "a bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
    "no line break after the chunk": b"3\r\nabcd\r\n0\r\n\r\n",
    "a bare LF in an extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", CHUNKS)
def test_a_malformed_chunk_never_completes_a_request(
    sidecar: Sidecar, upstream: Upstream, token: str, case: str
) -> None:
    head = f"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head.encode() + CHUNKS[case] + SMUGGLED)
        answer = read_all(connection)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert upstream.take() == []


def test_connect_is_405_and_its_body_is_not_served(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    inner = f"GET /smuggled HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    head = f"CONNECT h:22 HTTP/1.1\r\nHost: h:22\r\nContent-Length: {len(inner)}\r\n\r\n".encode()
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head + inner)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert upstream.take() == []


def test_a_request_after_an_upgrade_that_was_not_done_is_not_served(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    auth = f"Host: a\r\nAuthorization: Bearer {token}\r\n"
    head = (
        f"GET /ws HTTP/1.1\r\n{auth}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /second HTTP/1.1\r\n{auth}\r\n"
    )
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head.encode())
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert [received.target for received in upstream.take()] == ["/ws"]


def test_without_a_token_there_is_no_100_before_the_401(sidecar: Sidecar, upstream: Upstream) -> None:
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    response = exchange(sidecar.address, head, "POST")
    assert (response.status, response.informational) == (401, [])
    assert upstream.take() == []


def test_with_a_token_the_upstream_decides_about_100(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    head = f"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert read_response(connection, "POST").status == 200
    assert upstream.take()[0].body == b"abc"


BAD_ANSWERS = {
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "NUL in the reason phrase": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok",
    "a control character in the reason phrase": b"HTTP/1.1 200 O\x07K\r\nContent-Length: 2\r\n\r\nok",
    "NUL in the reason phrase of 103": b"HTTP/1.1 103 E\x00H\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "empty lines": b"\r\n\r\n",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "a body on 204": b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nok",
    "unasked 101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "garbage": b"garbage\r\n\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "bytes after the end": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    "a folded header": b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
}

ENDED = ("nothing", "half a head", "empty lines")  # only the end of the stream says that no more comes


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_an_invalid_answer_is_502_and_its_connection_not_used_again(
    sidecar: Sidecar, upstream: Upstream, token: str, case: str
) -> None:
    upstream.answer = saying(BAD_ANSWERS[case], keep=case not in ENDED)
    head = f"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
    response = exchange(sidecar.address, head.encode(), "POST")
    assert response.status == 502
    assert json.loads(response.body)["error"] == "bad_gateway"
    used = {received.connection for received in upstream.take()}
    upstream.answer = saying(reply(200, b"good"))
    assert exchange(sidecar.address, head.encode(), "POST").body == b"good"
    assert not used & {received.connection for received in upstream.take()}


TRUNCATED = {
    "a short body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "a cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhello",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("case", TRUNCATED)
def test_a_truncated_body_never_ends_cleanly(
    sidecar: Sidecar, upstream: Upstream, token: str, case: str, version: str
) -> None:
    upstream.answer = saying(TRUNCATED[case], keep=False)
    head = f"GET /x {version}\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head.encode())
        response = read_response(connection)
    assert response.status in (0, 200)
    assert not response.complete


def test_an_answer_that_ends_with_its_connection_is_whole(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    upstream.answer = saying(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nuntil the end", keep=False)
    head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    response = exchange(sidecar.address, head.encode())
    assert (response.status, response.body, response.complete) == (200, b"until the end", True)


def test_a_dead_pooled_connection_costs_no_error_and_no_second_post(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    """GET goes out again on a new connection; POST is answered 502, for it may have been done."""
    auth = f"Host: a\r\nAuthorization: Bearer {token}\r\n"
    get = f"GET /x HTTP/1.1\r\n{auth}\r\n".encode()
    post = f"POST /x HTTP/1.1\r\n{auth}Content-Length: 1\r\n\r\nx".encode()

    def closes_on_second(received: Received, connection: socket.socket) -> bool:
        if sum(r.connection == received.connection for r in upstream.received) > 1:
            return False
        connection.sendall(reply())
        return True

    upstream.answer = closes_on_second
    for _ in range(6):
        assert exchange(sidecar.address, get).status == 200
    statuses = {exchange(sidecar.address, post, "POST").status for _ in range(6)}
    assert statuses <= {200, 502}
    posts = [r for r in upstream.take() if r.method == "POST"]
    assert len(posts) == 6


def test_a_client_that_leaves_takes_nobodys_answer(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """The upstream connection of a client that is gone is closed, and the next client gets its own answer."""

    def slow(received: Received, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + received.target.encode())
        with contextlib.suppress(OSError):
            connection.settimeout(10)
            assert connection.recv(1) == b""
        return False

    for number in range(20):
        upstream.answer = slow
        head = f"GET /slow/{number} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            connection.sendall(head.encode())
            connection.recv(1)
        upstream.answer = lambda received, connection: bool(
            connection.sendall(reply(200, received.target.encode())) or True
        )
        fast = f"GET /fast/{number} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
        assert exchange(sidecar.address, fast.encode()).body == f"/fast/{number}".encode()
