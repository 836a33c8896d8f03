"""Mutated bytes: what reaches the API is what an independent strict parser reads, and never anything without a token.

h11 reads the same bytes. The sidecar may refuse more than h11, but what it forwards must be h11's requests, in order, with the
same bodies: a difference would be a smuggled request. Seeded, so that a failure comes again; `FUZZ_ROUNDS` and `FUZZ_SEED`
change how many and which.
"""

import contextlib
import os
import random
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h11
import pytest

from tests.support.process import Sidecar, running
from tests.support.raw import read_all
from tests.support.upstream import Upstream, reply, saying

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "600"))
SEED = int(os.environ.get("FUZZ_SEED", "20261124"))

AUTH = b"Authorization: Bearer TOKEN\r\n"
SEEDS = [
    b"GET /a HTTP/1.1\r\nHost: h\r\n" + AUTH + b"\r\n",
    b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Accept: */*\r\nX-A: b\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Content-Length: 5\r\n\r\nhello",
    b"PUT /c HTTP/1.1\r\nHost: h\r\n"
    + AUTH
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"POST /d HTTP/1.1\r\nHost: h\r\n"
    + AUTH
    + b"Content-Length: 44\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n"
    + b"Y" * 12,
    b"DELETE /e HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Connection: keep-alive, x-a\r\nX-A: b\r\n\r\n",
    b"HEAD /f HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Expect: 100-continue\r\n\r\n",
    b"GET http://h/g HTTP/1.1\r\nHost: h\r\n" + AUTH + b"\r\n",
    b"GET /w HTTP/1.1\r\nHost: h\r\n" + AUTH + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET /o HTTP/1.0\r\nHost: h\r\n" + AUTH + b"\r\n",
    (
        b"POST /j HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n"
        b'{"access_token":"TOKEN"}'
    ),
]
SPICE = [
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b"\x0b", b":", b",", b"\xff", b"0", b"+", b"-", b"_", b"\x1f", b"\x85",
    b"Content-Length: 0\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding:\x0bchunked\r\n", b"content_length: 9\r\n", b"Host: i\r\n",
    b"0\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n", b" HTTP/1.1", b"0x", b"\r\n folded", b";", b"HTTP/1.1",
]  # fmt: skip


class Seen(NamedTuple):
    """A request, as far as two readers must agree about it."""

    method: str
    target: str
    body: bytes


def mutated(rng: random.Random) -> bytes:
    """One to three requests with up to four faults."""
    data = bytearray(b"".join(rng.choice(SEEDS) for _ in range(rng.randint(1, 3))))
    for _ in range(rng.randint(0, 4)):
        position = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[position:position] = rng.choice(SPICE)
            case 1:
                del data[position : position + rng.randint(1, 4)]
            case 2 if position < len(data):
                data[position] = rng.randrange(256)
            case 3:
                lines = bytes(data).split(b"\r\n")
                lines.insert(rng.randrange(len(lines)), rng.choice(lines))
                data = bytearray(b"\r\n".join(lines))
            case 4:
                end = position + rng.randint(1, 30)
                data[position:position] = data[position:end]
            case _:
                lines = bytes(data).split(b"\r\n")
                number = rng.randrange(len(lines))
                lines[number] = lines[number].swapcase()
                data = bytearray(b"\r\n".join(lines))
    return bytes(data)


def read_by_h11(data: bytes) -> list[Seen]:
    """The requests that h11 finds, up to its first complaint."""
    parser, found = h11.Connection(h11.SERVER), []
    parser.receive_data(_from_line(data))
    parser.receive_data(b"")
    head: h11.Request | None = None
    body = b""
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError:
            return found
        if isinstance(event, h11.Request):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head
            found.append(Seen(head.method.decode("latin-1"), head.target.decode("latin-1"), body))
            # h11 wants each request answered before it reads the next.
            rest = parser.trailing_data[0]
            parser = h11.Connection(h11.SERVER)
            parser.receive_data(_from_line(rest))
            parser.receive_data(b"")
        else:
            return found


def _from_line(data: bytes) -> bytes:
    """What RFC 9112 leaves to the reader: empty lines before a request line are ignored (section 2.2), and several spaces
    within it count as one (section 3). The sidecar writes the line anew."""
    line, end, rest = data.lstrip(b"\r\n").partition(b"\r\n")
    return re.sub(rb"(?<=\S) {2,}(?=\S)", b" ", line) + end + rest


def normal(seen: Seen, token: str) -> Seen:
    """Without what the sidecar takes away on purpose."""
    target = seen.target
    if target[:7].lower() == "http://":
        target = "/" + target[7:].partition("/")[2]
    return Seen(seen.method, target, seen.body.replace(b'"access_token":"%b"' % token.encode(), b""))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, Upstream]]:
    timeouts = {"request_header": "2s", "idle": "2s"}
    with (
        Upstream(saying(reply(200, b""))) as upstream,
        running(tmp_path_factory.mktemp("fuzz"), upstream.url, timeouts=timeouts) as sidecar,
    ):
        yield sidecar, upstream


def deliver(sidecar: Sidecar, data: bytes, rng: random.Random) -> bytes:
    """Send it in one piece or several, say that this was all, and take the answers."""
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        cut = rng.randrange(len(data) + 1) if rng.random() < 0.3 else len(data)
        with contextlib.suppress(OSError):
            connection.sendall(data[:cut])
            connection.sendall(data[cut:])
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def test_only_what_a_strict_parser_reads_reaches_the_api(place: tuple[Sidecar, Upstream]) -> None:
    sidecar, upstream = place
    rng = random.Random(SEED)  # noqa: S311  it has to come again
    token = sidecar.token()
    forwarded = 0
    deadline = time.monotonic() + 0.5 * ROUNDS
    for number in range(ROUNDS):
        assert time.monotonic() < deadline, "the fuzzer takes too long"
        data = mutated(rng).replace(b"TOKEN", token.encode())
        answers = deliver(sidecar, data, rng)
        received = [Seen(each.method, each.target, each.body) for each in upstream.take()]
        expected = iter([normal(seen, token) for seen in read_by_h11(data)])
        # In order; those in between were refused, for a token that a mutation broke.
        assert all(any(seen == other for other in expected) for seen in received), (SEED, number, data, received)
        assert len(received) == answers.count(b"HTTP/1.1 200 "), (SEED, number, data, answers)
        forwarded += len(received)
    assert forwarded > ROUNDS / 5, "the mutations leave nothing to compare"
    assert not sidecar.records("internal_error")


def test_nothing_without_a_token_reaches_the_api(place: tuple[Sidecar, Upstream]) -> None:
    sidecar, upstream = place
    rng = random.Random(SEED + 1)  # noqa: S311  it has to come again
    expired = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImsxIn0.e30.AAAA"
    for number in range(ROUNDS):
        data = mutated(rng).replace(b"TOKEN", rng.choice([b"", b"x.y.z", expired.encode()]))
        answers = deliver(sidecar, data, rng)
        assert upstream.take() == [], (SEED + 1, number, data)
        assert b"HTTP/1.1 2" not in answers, (SEED + 1, number, data)
    assert not sidecar.records("internal_error")


def test_the_fuzzer_would_notice(tmp_path: Path) -> None:
    """Its own check: a reader that takes a chunk size with an underscore disagrees with h11."""
    data = b"PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0_2\r\nab\r\n0\r\n\r\n"
    assert read_by_h11(data) == []
    assert read_by_h11(data.replace(b"0_2", b"02")) == [Seen("PUT", "/c", b"ab")]
