"""proxy.small_body: a body of known length, in pieces, without a parser."""

import asyncio
import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.proxy.request import RequestBroken
from sidecar.proxy.small_body import SmallBody


@given(st.binary(min_size=1, max_size=30), st.binary(max_size=5), st.lists(st.integers(0, 35), max_size=5))
def test_a_body_is_its_bytes_however_they_come(content: bytes, surplus: bytes, cuts: list[int]) -> None:
    stream = content + surplus
    places = sorted({0, *(cut for cut in cuts if cut <= len(stream)), len(stream)})
    first, *others = [stream[start:end] for start, end in itertools.pairwise(places)]
    body, rest = SmallBody(len(content), first[: len(content)]), first[len(content) :]
    ended: list[bool] = []
    body.when_ended(lambda: ended.append(True))
    for part in others:
        assert body.total_bytes <= len(content)
        rest += body.feed(part) if not body.is_eof() else part
    assert (body.is_eof(), body.total_bytes, rest) == (True, len(content), surplus)
    assert len(ended) == (len(first) < len(content))
    assert not body.at_eof()
    assert body.read_nowait() == content
    assert body.at_eof()
    assert body.read_nowait() == b""


async def test_whoever_waits_gets_the_whole_body_at_once() -> None:
    body = SmallBody(3, b"a")
    waiting = asyncio.get_running_loop().create_task(body.readany())
    await asyncio.sleep(0)
    assert body.feed(b"b") == b""
    await asyncio.sleep(0)
    assert not waiting.done()
    assert body.feed(b"cde") == b"de"
    assert (await waiting, await body.readany()) == (b"abc", b"")


async def test_a_body_whose_rest_does_not_arrive_is_broken() -> None:
    body, calls = SmallBody(3, b"a"), []
    waiting = asyncio.get_running_loop().create_task(body.readany())
    await asyncio.sleep(0)
    body.set_exception(RequestBroken())
    with pytest.raises(RequestBroken):
        await waiting
    with pytest.raises(RequestBroken):
        body.read_nowait()
    with pytest.raises(RequestBroken):
        await body.readany()
    assert isinstance(body.exception(), RequestBroken)
    assert not body.is_eof()
    body = SmallBody(3, b"")
    body.when_ended(lambda: calls.append(body.exception() is not None))
    body.set_exception(RequestBroken())
    body.set_exception(RequestBroken())
    assert calls == [True]


def test_a_whole_body_cannot_break() -> None:
    body = SmallBody(2, b"ab")
    body.set_exception(RequestBroken())
    assert (body.exception(), body.read_nowait()) == (None, b"ab")


def test_a_body_that_no_one_needs_is_counted_and_not_kept() -> None:
    body = SmallBody(5, b"ab")
    body.drop()
    assert body.feed(b"cdeGET") == b"GET"
    assert (body.is_eof(), body.total_bytes, body.read_nowait()) == (True, 5, b"")
    assert repr(SmallBody(5, b"ab")) == "<SmallBody 2 bytes, 3 missing>"


def test_a_body_in_tiny_reads_takes_no_more_memory_than_its_bytes() -> None:
    length = 64 * 1024
    body = SmallBody(length, b"")
    tracemalloc.start()
    try:
        for _ in range(length // 2):
            body.feed(bytes([1, 2]))
        assert tracemalloc.get_traced_memory()[0] < 2 * length
    finally:
        tracemalloc.stop()
    assert body.read_nowait() == bytes([1, 2]) * (length // 2)


def test_a_broken_body_keeps_no_bytes() -> None:
    body = SmallBody(100_000, b"a")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        body.feed(bytes(90_000))
        body.set_exception(RequestBroken())
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 5000
