"""The lines of requests, tokens and users: those that are written many at a time are the lines of the logger."""

import io
import json
import logging
import os
from typing import Any

import pytest

from sidecar.core.causes import Cause, Fault
from sidecar.core.events import (
    Decision,
    Event,
    LoginFailed,
    LogoutFailed,
    RequestDone,
    SecretUsed,
    StoreChanged,
    StoreUsed,
    TokenIssued,
    TokenRevoked,
    UserLoggedIn,
    UserLoggedOut,
)
from sidecar.core.reasons import Reason
from sidecar.ops.access_log import AccessLog, RequestLines, request_lines
from sidecar.ops.logs import configure
from tests.support.logged import done, records


@pytest.mark.parametrize(("level", "shown"), [("off", 0), ("debug", 0), ("info", 1)])
def test_admitted_requests_are_logged_at_the_level_that_was_chosen(stream: io.StringIO, level: Any, shown: int) -> None:
    configure("info", "json", stream)
    log = AccessLog(logging.getLogger("sidecar.access"), level)
    log.on_event(done(Decision.ADMITTED))
    assert len(records(stream)) == shown
    assert all(record["event"] == "request_admitted" for record in records(stream))


def test_refusals_and_upstream_faults_are_always_logged(stream: io.StringIO) -> None:
    configure("info", "json", stream)
    log = AccessLog(logging.getLogger("sidecar.access"), "off")
    log.on_event(done(Decision.REFUSED, Reason.REVOKED))
    log.on_event(done(Decision.ADMITTED, Reason.UPSTREAM_TIMEOUT))
    log.on_event(done(Decision.LOCAL, Reason.BAD_CLIENT_SECRET))
    assert [(r["level"], r["event"], r["reason"]) for r in records(stream)] == [
        ("info", "request_refused", "revoked"),
        ("warning", "request_failed", "upstream_timeout"),
        ("info", "request_local", "bad_client_secret"),
    ]


A, P, R, L = Decision.ADMITTED, Decision.PUBLIC, Decision.REFUSED, Decision.LOCAL
NAMES = {
    (R, Reason.EXPIRED): ("info", "request_refused"),
    (R, Reason.HEADERS_TOO_LARGE): ("info", "request_refused"),
    (R, Reason.STORE_UNAVAILABLE): ("warning", "request_refused"),
    (R, Reason.OVERLOADED): ("warning", "request_refused"),
    (R, Reason.INTERNAL): ("error", "request_refused"),
    (A, Reason.UPSTREAM_INVALID): ("warning", "request_failed"),
    (P, Reason.UPSTREAM_UNREACHABLE): ("warning", "request_failed"),
    (A, Reason.OVERLOADED): ("warning", "request_failed"),
    (A, Reason.INTERNAL): ("error", "request_failed"),
    (A, Reason.BODY_TOO_LARGE): ("info", "request_refused"),
    (P, Reason.REQUEST_TIMEOUT): ("info", "request_refused"),
    (A, Reason.EXPIRED): ("info", "request_lapsed"),
    (A, Reason.REVOKED): ("info", "request_lapsed"),
    (L, Reason.BAD_CLIENT_SECRET): ("info", "request_local"),
    (L, Reason.METHOD_NOT_ALLOWED): ("info", "request_local"),
    (L, Reason.STORE_UNAVAILABLE): ("warning", "request_failed"),
    (L, Reason.INTERNAL): ("error", "request_failed"),
}


@pytest.mark.parametrize(("decision", "reason"), NAMES, ids=str)
def test_event_and_level_say_what_became_of_a_request(stream: io.StringIO, decision: Decision, reason: Reason) -> None:
    configure("info", "json", stream)
    log = AccessLog(logging.getLogger("sidecar.access"), "off")
    log.on_event(done(decision, reason))
    (record,) = records(stream)
    assert (record["level"], record["event"]) == NAMES[decision, reason]
    assert (record["reason"], record["plane"]) == (reason.word, reason.plane.value)


def test_what_happens_to_store_and_tokens_is_logged_without_a_token(stream: io.StringIO) -> None:
    configure("info", "json", stream)
    log = AccessLog(logging.getLogger("sidecar.access"), "off")
    log.on_event(StoreChanged(up=False, detail="no connection"))
    log.on_event(StoreChanged(up=True, detail="back"))
    log.on_event(TokenIssued("client_credentials", "c", "j"))
    log.on_event(TokenRevoked("c", "j"))
    assert [(r["level"], r["event"]) for r in records(stream)] == [
        ("warning", "store_down"), ("info", "store_up"), ("info", "token_issued"), ("info", "token_revoked"),
    ]  # fmt: skip


VALUES = ["/a", '/"\\', "/\x1b[31m", "/\u2028\xe9", "/" * 5000, "{}", "%s"]


def stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """`logging` reads its clock in seconds before Python 3.13, and in nanoseconds from then on."""
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.5)
    monkeypatch.setattr("time.time_ns", lambda: 1_800_000_000_500_000_000)


@pytest.mark.parametrize("path", VALUES)
@pytest.mark.parametrize("decision", list(Decision))
@pytest.mark.parametrize("reason", [None, Reason.EXPIRED, Reason.UPSTREAM_TIMEOUT])
def test_many_lines_at_a_time_are_the_lines_of_the_logger(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, path: str, decision: Decision, reason: Reason | None
) -> None:
    stand_still(monkeypatch)
    configure("info", "json", stream)
    who = None if path == "/a" else path
    fault = Fault(Cause.NO_ANSWER, path) if reason is Reason.UPSTREAM_TIMEOUT else None
    event = RequestDone(decision, 401, 0.01234, None, reason, "GET", path, who, "::1", fault, user=who)
    logger = logging.getLogger("sidecar.access")
    AccessLog(logger, "info").on_event(event)
    expected = stream.getvalue()
    later: list[float] = []
    lines = RequestLines(stream, call_later=lambda seconds, _: later.append(seconds), clock=lambda: 1_800_000_000.5)
    log = AccessLog(logger, "info", lines)
    log.on_event(event)
    log.on_event(event)
    assert stream.getvalue() == expected, "they wait for each other"
    assert later == [0.1]
    log.close()
    assert json.loads(expected) == json.loads(stream.getvalue()[len(expected) :].splitlines()[0])
    assert stream.getvalue() == 3 * expected
    log.close()
    assert stream.getvalue() == 3 * expected


@pytest.mark.parametrize("client_id", VALUES)
def test_the_lines_of_issued_tokens_are_those_of_the_logger(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, client_id: str
) -> None:
    stand_still(monkeypatch)
    configure("info", "json", stream)
    user = None if client_id == "/a" else client_id
    event, logger = TokenIssued("client_credentials", client_id, "j-1", user), logging.getLogger("sidecar.access")
    AccessLog(logger, "off").on_event(event)
    expected = stream.getvalue()
    log = AccessLog(logger, "off", RequestLines(stream, call_later=lambda *_: None, clock=lambda: 1_800_000_000.5))
    log.on_event(event)
    assert stream.getvalue() == expected, "it waits"
    log.close()
    assert stream.getvalue() == 2 * expected
    configure("warning", "json", stream)
    log.on_event(event)
    log.close()
    assert stream.getvalue() == 2 * expected, "not at this level"


PEOPLE: list[tuple[Event, dict[str, str]]] = [
    (UserLoggedIn("anna", "c", "::1"), {"event": "login", "user": "anna", "client_id": "c", "peer": "::1"}),
    (LoginFailed(Reason.BAD_CREDENTIALS, None, "c", "::1"),
     {"event": "login_failed", "reason": "bad_credentials", "client_id": "c", "peer": "::1"}),
    (UserLoggedOut("\x1b[31m\n", "::1"), {"event": "logout", "user": "\x1b[31m\n", "peer": "::1"}),
    (LogoutFailed(Reason.STORE_UNAVAILABLE, "anna", "::1"),
     {"event": "logout_failed", "reason": "store_unavailable", "user": "anna", "peer": "::1"}),
]  # fmt: skip


@pytest.mark.parametrize(("event", "fields"), PEOPLE)
def test_the_lines_of_logins_and_logouts_are_those_of_the_logger(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, event: Event, fields: dict[str, str]
) -> None:
    stand_still(monkeypatch)
    configure("info", "json", stream)
    logger = logging.getLogger("sidecar.access")
    AccessLog(logger, "off").on_event(event)
    expected = stream.getvalue()
    (record,) = records(stream)
    level = "warning" if "store_unavailable" in fields.values() else "info"
    assert record == {"time": "2027-01-15T08:00:00.500Z", "pid": os.getpid(), "level": level, **fields}
    log = AccessLog(logger, "off", RequestLines(stream, call_later=lambda *_: None, clock=lambda: 1_800_000_000.5))
    log.on_event(event)
    log.close()
    assert stream.getvalue() == 2 * expected
    configure("error", "json", stream)
    log.on_event(event)
    log.close()
    assert stream.getvalue() == 2 * expected, "not at this level"


def test_a_request_that_has_an_event_of_its_own_has_no_line(stream: io.StringIO) -> None:
    configure("info", "json", stream)
    log = AccessLog(logging.getLogger("sidecar.access"), "info")
    log.on_event(done(Decision.LOCAL, Reason.BAD_CREDENTIALS)._replace(told=True))
    assert records(stream) == []


def test_what_happens_with_every_token_has_no_line(stream: io.StringIO) -> None:
    """The metrics count it."""
    configure("debug", "json", stream)
    log = AccessLog(logging.getLogger("sidecar.access"), "debug")
    log.on_event(SecretUsed("app", 1, 5.0))
    for answered in (True, False):
        log.on_event(StoreUsed("write", 0.1, answered=answered))
    assert records(stream) == []


def test_no_more_lines_wait_than_are_worth_it_and_a_closed_stream_costs_nothing(stream: io.StringIO) -> None:
    configure("warning", "json", stream)
    lines = RequestLines(stream, call_later=lambda *_: None, clock=lambda: 0.0)
    log = AccessLog(logging.getLogger("sidecar.access"), "info", lines)
    log.on_event(done(Decision.REFUSED, Reason.EXPIRED))
    assert repr(lines) == "<RequestLines 0 waiting>", "not at this level"
    for _ in range(500):
        log.on_event(done(Decision.ADMITTED, Reason.UPSTREAM_TIMEOUT))
    assert len(records(stream)) == 500
    stream.close()
    log.on_event(done(Decision.ADMITTED, Reason.UPSTREAM_TIMEOUT))
    log.close()


def test_lines_and_records_are_in_their_order(stream: io.StringIO) -> None:
    configure("info", "json", stream)
    lines = request_lines(call_later=lambda *_: None, clock=lambda: 1_800_000_000.5)
    assert lines is not None
    log = AccessLog(logging.getLogger("sidecar.access"), "off", lines)
    log.on_event(done(Decision.REFUSED, Reason.REVOKED))
    logging.getLogger("sidecar").info("later")
    log.on_event(done(Decision.REFUSED, Reason.EXPIRED))
    lines.flush()
    assert [record.get("reason") or record["event"] for record in records(stream)] == ["revoked", "later", "expired"]
    assert {record["pid"] for record in records(stream)} == {os.getpid()}
