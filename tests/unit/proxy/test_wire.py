"""proxy.wire: the bytes of our own replies."""

import email.utils

import pytest

from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply, refusal
from sidecar.proxy import wire
from sidecar.proxy.wire import date_line, encode_reply


def head_of(data: bytes) -> list[bytes]:
    return data.partition(b"\r\n\r\n")[0].split(b"\r\n")


def test_a_reply_is_a_whole_response() -> None:
    data = encode_reply(Reply(200, (("X-A", "b"),), b"hello"), head_only=False, connection=b"Connection: close\r\n")
    lines = head_of(data)
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert {b"X-A: b", b"Content-Length: 5", b"Connection: close"} <= set(lines)
    assert data.endswith(b"\r\n\r\nhello")


def test_the_answer_to_head_has_the_length_and_no_body() -> None:
    data = encode_reply(Reply(200, (), b"hello"), head_only=True, connection=b"")
    assert b"Content-Length: 5" in head_of(data)
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_what_has_no_body_says_no_length(status: int) -> None:
    """RFC 9110 section 8.6."""
    assert b"Content-Length" not in encode_reply(Reply(status, (), b""), head_only=False, connection=b"")


def test_a_status_that_nobody_has_named_has_no_phrase() -> None:
    assert head_of(encode_reply(Reply(299, (), b""), head_only=False, connection=b""))[0] == b"HTTP/1.1 299 "


def test_the_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000.9
    monkeypatch.setattr(wire.time, "time", lambda: now)
    first = date_line()
    assert email.utils.parsedate_to_datetime(first[6:-2].decode()).timestamp() == 1_800_000_000
    assert date_line() is first
    now += 0.2
    assert date_line() != first


def test_replies_that_are_alike_do_not_share_their_body() -> None:
    one, two = (
        encode_reply(refusal(reason), head_only=False, connection=b"") for reason in (Reason.EXPIRED, Reason.REVOKED)
    )
    assert b"expired" in one
    assert b"revoked" in two
