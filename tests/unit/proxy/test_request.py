"""What is known of a request besides its message."""

from typing import Any

import pytest
from multidict import CIMultiDict

from sidecar.core.http.fields import request_kinds
from sidecar.core.http.plain_heads import PlainHeads
from sidecar.proxy.request import declared_length


class Message:
    """As much of a message of aiohttp's as the length of a body depends on."""

    def __init__(self, length: str | None, *, chunked: bool = False) -> None:
        self.chunked = chunked
        self.headers: CIMultiDict[str] = CIMultiDict() if length is None else CIMultiDict({"content-length": length})


@pytest.mark.parametrize(
    ("length", "expected"),
    [(None, 0), ("0", 0), ("1", 1), ("12", 12), ("007", 7), ("000", 0), ("0" * 5000 + "9", 9)],
)
def test_the_length_that_a_request_declares(length: str | None, expected: int) -> None:
    message: Any = Message(length)
    assert declared_length(message) == expected


def test_a_chunked_request_declares_none() -> None:
    message: Any = Message(None, chunked=True)
    assert declared_length(message) is None


def test_a_head_that_was_read_by_its_shape_has_its_length() -> None:
    heads = PlainHeads(request_kinds(), host=None, line=100, size=100, count=10)
    for _ in range(16):
        heads.learn([(b"Host", b"a"), (b"Content-Length", b"1")])
    head = heads.read(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", None)
    assert head is not None
    assert declared_length(head) == 12
