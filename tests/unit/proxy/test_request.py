"""What is known of a request besides its message."""

from typing import Any

import pytest
from multidict import CIMultiDict

from sidecar.proxy.request import HeadMemo, declared_length


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


def test_another_section_makes_the_memo_forget_the_one_before() -> None:
    memo, first, second = HeadMemo(), object(), object()
    headers: Any = object()
    memo.begin("rules", (1, 1), first, headers)
    memo.again, memo.token, memo.unusable, memo.block_of = first, headers, headers, headers
    memo.begin("rules", (1, 1), second, headers)
    assert memo.raw is second
    assert memo.again is memo.token is memo.unusable is memo.block_of is None
