"""Trailers, found from the end of a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.http.trailers import trailer_section

NAMES = frozenset([b"x-sum", b"x-more"])


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", b"X-Sum: 1\r\n"),
        (b"0\r\nx-sum:1\r\nOther: 2\r\nX-More: \t 3 4 \t\r\n\r\n", b"x-sum: 1\r\nX-More: 3 4\r\n"),
        (b"000;a=b\r\nX-Sum: 1\r\n\r\n", b"X-Sum: 1\r\n"),
        (b"0\r\nX-Sum:\r\n\r\n", b"X-Sum: \r\n"),
        (b"0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n", b"X-Sum: 1\r\nX-Sum: 2\r\n"),
        (b"0\r\n\r\n", b""),
        (b"5\r\n0\r\nX-\r\n0\r\n\r\n", b""),
        (b"10\r\n0\r\nX-Sum: 66\r\n\r\n\r\n0\r\nX-Sum: 1\r\n\r\n", b"X-Sum: 1\r\n"),
    ],
)
def test_the_fields_behind_the_last_chunk(end: bytes, found: bytes) -> None:
    assert trailer_section(end, NAMES) == found


@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"0\r\nX-Sum: 1\r\n",
        b"X-Sum: 1\r\n\r\n",  # where they begin was cut away
        b"10\r\nX-Sum: 1\r\n\r\n",  # no last chunk
        b"0\r\nX-Sum: 1\r\n folded\r\n\r\n",
        b"0\r\nX-Sum: a\x01b\r\n\r\n",
        b"0\r\nX-Sum : 1\r\n\r\n",
        b"0\r\n\r\nX-Sum: 1\r\n\r\n",
    ],
)
def test_in_doubt_there_are_none(end: bytes) -> None:
    assert trailer_section(end, NAMES) == b""


@given(st.binary(max_size=60), st.lists(st.sampled_from([b"X-Sum: 1", b"X-More: 0", b"Y: z"]), max_size=4))
def test_no_body_can_be_taken_for_trailers(body: bytes, fields: list[bytes]) -> None:
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    end = chunk + b"0\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"
    assert trailer_section(end, NAMES) == b"".join(field + b"\r\n" for field in fields if field[:1] == b"X")
