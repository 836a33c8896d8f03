"""Responses are read alike however their bytes are cut, and what must not be passed on is broken."""

import pytest

from sidecar.core.causes import Cause
from sidecar.proxy.upstream.reader import MAX_HEAD, Progress, ResponseReader, without_tabs
from tests.support.answers import Asked

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX: 1\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
CHAT = {"upgrade": b"chat", "awaits_switch": True}


def read(data: bytes, *, step: int | None = None, **what: object) -> tuple[ResponseReader, Progress, Asked]:
    """What comes of an answer whose bytes come `step` at a time, or at once: up to the first verdict but `MORE`."""
    reader, asked, progress = ResponseReader(), Asked(**what), Progress.MORE
    reader.begin(asked)
    for start in range(0, len(data), step or len(data)):
        assert progress is Progress.MORE
        progress = reader.feed(data[start : start + (step or len(data))])
    return reader, progress, asked


@pytest.mark.parametrize("step", [None, 1, 2, 7])
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (PLAIN, ["head 200 OK"]),
        (CHUNKED, ["head 200 OK", "trailers X: 1"]),
        (EARLY + EARLY + PLAIN, ["informational 103", "informational 103", "head 200 OK"]),
        (PLAIN.replace(b" OK", b""), ["head 200 "]),
    ],
)
def test_a_response_is_read_alike_however_it_is_cut(step: int | None, data: bytes, told: list[str]) -> None:
    reader, progress, asked = read(data, step=step)
    assert (progress, asked.told, asked.body) == (Progress.WHOLE, told, b"hello")
    assert reader.keep_alive
    assert reader.in_one_read is (step is None)


def test_a_head_without_a_date_gets_one() -> None:
    assert b"".join(read(PLAIN)[2].fields).count(b"Date: ") == 1
    dated = PLAIN.replace(b"\r\n\r\n", b"\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n\r\n")
    assert b"".join(read(dated)[2].fields).count(b"Date: ") == 1


def test_one_connection_brings_one_answer_after_the_other() -> None:
    reader = ResponseReader()
    for _ in range(3):
        asked = Asked()
        reader.begin(asked)
        assert (reader.final, reader.complete) == (False, False)
        assert reader.feed(CHUNKED) is Progress.WHOLE
        assert asked.body == b"hello"


@pytest.mark.parametrize(
    ("data", "what", "cause"),
    [
        (b"\x15\x03\x01\x00\x02\x02\x46", {}, Cause.SPEAKS_TLS),
        (b"SSH-2.0-OpenSSH\r\n", {}, Cause.NOT_HTTP),
        (PLAIN.replace(b" OK", b" O\x01K"), {}, Cause.NOT_HTTP),
        (b"HTTP/1.1 099 Low\r\n\r\n", {}, Cause.NOT_HTTP),
        (PLAIN + b"HTTP/1.1 204 No Content\r\n\r\n", {}, Cause.BYTES_AFTER_ANSWER),
        (PLAIN, {"head_request": True}, Cause.BAD_FRAMING),
        (PLAIN.replace(b"200 OK", b"204 No"), {}, Cause.BAD_FRAMING),
        (PLAIN.replace(b": 5", b": 5, 6"), {}, Cause.NOT_HTTP),
        (CHUNKED.replace(b"1.1", b"1.0"), {}, Cause.BAD_FRAMING),
        (SWITCH, {}, Cause.BAD_SWITCH),
        (SWITCH, {"upgrade": b"chat"}, Cause.BAD_SWITCH),  # the client has sent more already
        (SWITCH.replace(b"Upgrade: chat\r\n", b""), CHAT, Cause.BAD_SWITCH),
        (SWITCH.replace(b"Connection: upgrade\r\n", b""), CHAT, Cause.NOT_HTTP),
    ],
)
def test_what_may_not_be_passed_on_is_broken(data: bytes, what: dict[str, object], cause: Cause) -> None:
    """In one read, and byte by byte, where it may be whole before it is broken."""
    reader, progress, _ = read(data, **what)
    assert progress is Progress.BROKEN
    assert reader.fault is not None
    assert reader.fault.cause is cause
    reader = ResponseReader()
    reader.begin(Asked(**what))
    assert Progress.BROKEN in [reader.feed(data[index : index + 1]) for index in range(len(data))]


def test_a_head_that_does_not_end_is_broken() -> None:
    reader, asked = ResponseReader(), Asked()
    reader.begin(asked)
    field = b"X: " + 8000 * b"x" + b"\r\n"
    progress, fed = reader.feed(b"HTTP/1.1 200 OK\r\n"), 17
    while progress is Progress.MORE:
        progress, fed = reader.feed(field), fed + len(field)
    assert progress is Progress.BROKEN
    assert MAX_HEAD < fed <= MAX_HEAD + len(field)
    assert reader.fault is not None
    assert reader.fault.cause is Cause.HEAD_TOO_LARGE
    assert asked.told == []


def test_a_body_may_be_larger_than_a_head() -> None:
    size = 3 * MAX_HEAD
    reader, progress, asked = read(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + size * b"x", step=65536)
    assert (progress, len(asked.body), reader.keep_alive) == (Progress.WHOLE, size, True)


@pytest.mark.parametrize(
    ("data", "what", "kept"),
    [
        (PLAIN, {}, True),
        (PLAIN.replace(b"1.1", b"1.0"), {}, False),
        (PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), {}, False),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", {}, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", {}, True),
        # Some servers send the body that they announce here.
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", {}, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", {"head_request": True}, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", {"head_request": True}, True),
    ],
)
def test_a_connection_is_kept_when_nothing_is_in_doubt(data: bytes, what: dict[str, object], kept: bool) -> None:
    reader, progress, _ = read(data, **what)
    assert (progress, reader.keep_alive) == (Progress.WHOLE, kept)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    reader, progress, asked = read(b"HTTP/1.1 200 OK\r\n\r\nhel" + b"lo", step=4)
    assert (progress, reader.until_eof, asked.body) == (Progress.MORE, True, b"hello")
    assert not read(PLAIN)[0].until_eof


@pytest.mark.parametrize("refused", [b"413 Content Too Large", b"302 Found"])
def test_an_upstream_that_closes_after_its_refusal_is_sent_no_more(refused: bytes) -> None:
    answer = b"HTTP/1.1 " + refused + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert "stop sending" in read(answer)[2].told
    assert "stop sending" not in read(answer.replace(b"Connection: close\r\n", b""))[2].told


@pytest.mark.parametrize("head", [SWITCH, SWITCH.replace(b"upgrade\r\n", b"upgrade\t\r\n")])
def test_what_comes_behind_a_switch_is_the_tunnels(head: bytes) -> None:
    """To the byte, also when white space was taken out of the head before it was parsed."""
    reader, progress, asked = read(head + b"first words", **CHAT)
    assert (progress, reader.rest, asked.told) == (Progress.SWITCHED, b"first words", [])
    assert reader.switch is not None
    assert (reader.switch[0], reader.switch[1].upgrade) == (b"Switching Protocols", b"chat")


def test_a_client_that_spoke_too_early_is_no_fault_of_the_upstream() -> None:
    assert read(SWITCH, upgrade=b"chat")[0].bad_switch
    assert not read(SWITCH)[0].bad_switch


def test_what_nobody_wants_is_passed_on_to_nobody() -> None:
    reader, asked = ResponseReader(), Asked()
    reader.begin(asked)
    assert reader.feed(PLAIN[:-2]) is Progress.MORE
    reader.reset()
    reader.feed(PLAIN[-2:])
    assert asked.body == b"hel"


def test_tabs_at_the_ends_of_lines_are_taken_away() -> None:
    assert without_tabs(b"A: b\t \r\nC: d\te\r\n\r\nbody\t\r\n") == b"A: b\r\nC: d\te\r\n\r\nbody\t\r\n"
    assert without_tabs(PLAIN) is PLAIN
