"""proxy.client.weights: what is said to be held is what Python allocates for it, or somewhat more."""

import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import pytest
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from sidecar.core.http.fields import request_kinds
from sidecar.core.http.plain_heads import PlainHeads
from sidecar.proxy.client import weights
from sidecar.proxy.client.reader import FlowControl, RequestReader
from sidecar.proxy.limits import ClientLimits
from sidecar.proxy.small_body import SmallBody

LIMITS: Final = ClientLimits(10, 10, 8 * 1024, 32 * 1024, 128, 1024**3, 6144)
LOOP: Any = object()  # nothing here waits
MANY: Final = 50
START: Final = b"GET / HTTP/1.1\r\nHost: a\r\n"

HEADS: Final = {
    "a large value": START + b"X: " + b"a" * 30_000,
    "a large field": START + b"X: " + b"a" * 30_000 + b"\r\nY",
    "a field with one character of four bytes": START + b"X: " + b"a" * 30_000 + "😀".encode() + b"\r\nY",
    "a field that is no UTF-8": START + b"X: " + b"\xff" * 30_000 + b"\r\nY",
    "small fields": START + b"".join(b"a%d: b%d\r\n" % (i, i) for i in range(500)),
    "fields of all sizes": START + b"".join(b"name%d: %b\r\n" % (i, b"v" * 200) for i in range(120)),
}


class Flow(FlowControl):
    """A connection that only is one."""

    __slots__ = ()


def readers() -> list[RequestReader]:
    made = [RequestReader(Flow(LOOP), LOOP, LIMITS) for _ in range(MANY)]
    for reader in made:
        reader.feed(b"GE")  # makes the parser, whose price is that of a connection
    return made


def measured(work: Callable[[], object]) -> float:
    """The bytes that are allocated by the work and live on with its result, each of `MANY`."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = work()
        after, _ = tracemalloc.get_traced_memory()
        del kept
        return (after - before) / MANY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("case", HEADS)
def test_an_unfinished_head_weighs_what_it_takes(case: str, pieces: int) -> None:
    made, head = readers(), HEADS[case][2:]
    step = len(head) // pieces + 1

    def feed() -> None:
        for reader in made:
            for start in range(0, len(head), step):
                assert not reader.feed(head[start : start + step])
                assert reader.fault is None

    size = measured(feed)
    assert size <= made[0].weight < 3 * size


@pytest.mark.parametrize("case", [case for case in HEADS if case != "small fields"])
def test_a_request_that_waits_weighs_what_it_takes(case: str) -> None:
    made, head = readers(), HEADS[case][2:].removesuffix(b"\r\nY").rstrip() + b"\r\n\r\n"
    size = measured(lambda: [reader.feed(bytes(bytearray(head))) for reader in made])
    assert all(reader.queue for reader in made)
    assert size <= made[0].weight < 3 * size + 5000


def test_a_plain_head_weighs_what_it_takes() -> None:
    heads = PlainHeads(request_kinds(), host=None, line=8192, size=32768, count=128)
    for _ in range(16):
        heads.learn([(b"Host", b""), (b"X-Long", b"")])
    data = START + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n"
    found: list[Any] = []
    size = measured(lambda: found.extend(heads.read(bytes(bytearray(data)), None) for _ in range(MANY)))
    assert size <= weights.of_head(found[0]) < 4 * size


def test_a_head_weighs_no_more_than_what_follows_it() -> None:
    """A request takes what was said of its beginning, which then is no longer said."""
    reader = readers()[0]
    reader.feed(b"T / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: " + b"a" * 5000)
    assert reader.weight > 5000
    assert reader.feed(b"\r\n\r\nabc")
    reader.take()
    assert reader.weight == 0
    assert not reader.feed(b"de")
    assert reader.weight == 0


def test_the_beginning_of_a_head_behind_a_request_or_a_body_counts() -> None:
    for first in (b"T / HTTP/1.1\r\nHost: a\r\n\r\n", b"T / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb"):
        reader = readers()[0]
        assert reader.feed(first + b"GET /x HTTP/1.1\r\nX: " + b"a" * 5000)
        reader.take()
        assert 5000 < reader.weight < 15_000
    reader = readers()[0]
    assert reader.feed(b"T / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nb")
    reader.take()
    assert not reader.feed(b"bGET /x HTTP/1.1\r\nX: " + b"a" * 5000)
    assert 5000 < reader.weight < 15_000
    reader.close()
    assert reader.weight == 0


def test_a_closed_reader_keeps_nothing() -> None:
    made = readers()
    size = measured(lambda: [reader.feed(HEADS["a large field"][2:]) for reader in made])
    assert size > 50_000
    tracemalloc.start()
    try:
        made = readers()
        for reader in made:
            reader.feed(HEADS["a large field"][2:])
        full, _ = tracemalloc.get_traced_memory()
        for reader in made:
            reader.close()
            reader.close()
        free, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (full - free) / MANY > 50_000


def test_a_body_weighs_what_waits_of_it_or_all_that_came() -> None:
    assert weights.of_body(EMPTY_PAYLOAD, whole=True) == 0
    small = SmallBody(10, b"abc")
    assert [weights.of_body(small, whole=whole) for whole in (True, False)] == [3, 3]
    small.feed(b"defghij")
    small.read_nowait()
    assert [weights.of_body(small, whole=whole) for whole in (True, False)] == [10, 0]


async def test_a_body_of_many_chunks_weighs_its_chunks() -> None:
    reader = readers()[0]
    assert reader.feed(b"T / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    _, body = reader.take()
    assert isinstance(body, StreamReader)
    reader.feed(b"2\r\nab\r\n" * 1000)
    assert weights.of_body(body, whole=True) == 2000
    waiting = weights.of_body(body, whole=False)
    assert waiting > 50_000
    assert body.read_nowait(1000) == b"ab" * 500
    assert weights.of_body(body, whole=False) < waiting - 1000
