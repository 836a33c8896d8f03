"""The lines of requests, tokens, users and the store in the log.

Requests are frequent, and so are issued tokens. Their lines are written many at a time and without a log record for each: a
refused request must not cost more than an admitted one. Text that a caller chose is escaped and cut, and tokens in it are
removed.
"""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, TextIO, TypeGuard

from sidecar.core.causes import Fault
from sidecar.core.events import (
    Decision,
    Event,
    LoginFailed,
    LogoutFailed,
    PersonEvent,
    RequestDone,
    SecretUsed,
    StoreChanged,
    StoreNoted,
    StoreUsed,
    TokenIssued,
    TokenRevoked,
    UserLoggedIn,
    UserLoggedOut,
)
from sidecar.core.reasons import Plane, Reason
from sidecar.ops.logs import JsonFormatter, shown

_LEVELS: Final = {
    Plane.PROTECTED: logging.INFO,
    Plane.TOKEN: logging.INFO,
    Plane.REQUEST: logging.INFO,
    Plane.UPSTREAM: logging.WARNING,
    Plane.SIDECAR: logging.WARNING,
}
_INTERNAL: Final = Reason.INTERNAL  # in Python 3.11 each access to a member calls a function
_PASSED: Final = frozenset([Decision.ADMITTED, Decision.PUBLIC])
_PERSON_EVENTS: Final[Mapping[type[PersonEvent], str]] = {
    UserLoggedIn: "login",
    LoginFailed: "login_failed",
    UserLoggedOut: "logout",
    LogoutFailed: "logout_failed",
}
_FLUSH_AFTER: Final = 0.1  # seconds
_MOST_LINES: Final = 500
_escaped: Final = json.encoder.encode_basestring_ascii


class RequestLines:
    """Writes the lines of requests, issued tokens and users' actions as `JsonFormatter` would, but many at a time and without a
    log record for each: a refused request must not cost more than an admitted one.

    `later(seconds, function)` calls a function after a delay; `clock` gives epoch seconds.
    """

    def __init__(
        self, stream: TextIO, *, call_later: Callable[[float, Callable[[], None]], object], clock: Callable[[], float]
    ) -> None:
        self._stream = stream
        self._call_later = call_later
        self._clock = clock
        self._lines: list[str] = []
        self._second = (-1, "")
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"<RequestLines {len(self._lines)} waiting>"

    def add(self, level: int, event: RequestDone) -> None:
        """Add the line of a request. It is written within a tenth of a second."""
        decision, status, seconds, _, reason, method, path, client_id, peer, fault, user, *_, request_id = event
        who = _named("client_id", client_id) + _named("user", user) + _named("request_id", request_id)
        self._take(
            f"{{{self._head()}, {_outcome(level, decision, reason, status)}, "
            f'"method": {_escaped(shown(method))}, "path": {_escaped(shown(path))}, '
            f'"peer": {_escaped(peer)}{who}, "milliseconds": {seconds * 1000:.1f}{_because(fault)}}}\n'
        )

    def add_issued(self, event: TokenIssued) -> None:
        """Add the line of an issued token. It is written as soon."""
        grant_type, client_id, jti, user = event
        before, after = _around_id(grant_type, client_id, user)
        self._take(f"{{{self._head()}, {before}{_escaped(jti)}{after}}}\n")

    def add_fields(self, level: int, name: str, fields: Mapping[str, str]) -> None:
        """Add the line of any other event, with its fields."""
        rest = "".join(_named(*field) for field in fields.items())
        shown = logging.getLevelName(level).lower()
        self._take(f'{{{self._head()}, "level": "{shown}", "event": "{name}"{rest}}}\n')

    def _take(self, line: str) -> None:
        lines = self._lines
        if not lines:
            self._call_later(_FLUSH_AFTER, self.flush)
        lines.append(line)
        if len(lines) >= _MOST_LINES:
            self.flush()

    def _head(self) -> str:
        """The members that every line has."""
        return f'"time": "{self._time()}", "pid": {self._pid}'

    def _time(self) -> str:
        now = self._clock()
        second = int(now)
        if second != self._second[0]:
            self._second = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
        return f"{self._second[1]}.{int((now - second) * 1000):03d}Z"

    def flush(self) -> None:
        """Write the waiting lines. A full disk or a closed pipe costs lines, and nothing else."""
        lines, self._lines = self._lines, []
        if lines:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write("".join(lines))
                self._stream.flush()


def _named(name: str, value: str | None) -> str:
    """A further member of a line; empty when there is no value."""
    return "" if value is None else f', "{name}": {_escaped(shown(value))}'


def request_lines(
    *, call_later: Callable[[float, Callable[[], None]], object], clock: Callable[[], float]
) -> RequestLines | None:
    """The lines beside the log records, after `configure`; `None` when records are not written as JSON. A record of this thread
    is written after the lines that wait, so that a process writes its lines in their order."""
    handler = next(filter(_writes_json, logging.getLogger().handlers), None)
    if handler is None:
        return None
    lines, own = RequestLines(handler.stream, call_later=call_later, clock=clock), threading.get_ident()

    def flush_first(record: logging.LogRecord) -> bool:
        if record.thread == own:
            lines.flush()
        return True

    handler.addFilter(flush_first)
    return lines


def _writes_json(handler: logging.Handler) -> "TypeGuard[logging.StreamHandler[TextIO]]":
    return isinstance(handler, logging.StreamHandler) and isinstance(handler.formatter, JsonFormatter)


@lru_cache(512)
def _around_id(grant_type: str, client_id: str, user: str | None) -> tuple[str, str]:
    """The members before and after the id of an issued token, cached: most clients get many tokens."""
    what = f'"level": "info", "event": "token_issued", "grant_type": {_escaped(grant_type)}'
    return f'{what}, "client_id": {_escaped(shown(client_id))}, "jti": ', _named("user", user)


@lru_cache(512)
def _outcome(level: int, decision: Decision, reason: Reason | None, status: int) -> str:
    """The members that many lines have in common, cached."""
    why = "" if reason is None else f'"reason": "{reason.word}", "plane": "{reason.plane.value}", '
    name = logging.getLevelName(level).lower()
    return f'"level": "{name}", "event": "{_event_name(decision, reason)}", {why}"status": {status}'


def _because(fault: Fault | None) -> str:
    """The members that name the cause of a failure."""
    if fault is None:
        return ""
    return f', "cause": {_escaped(fault.cause.word)}, "detail": {_escaped(shown(fault.detail))}' + _named(
        "upstream", fault.upstream or None
    )


def _level(reason: Reason) -> int:
    """A fault of the caller is logged as info, a failure of the API or the sidecar as a warning, and a defect of the sidecar as
    an error."""
    return logging.ERROR if reason is _INTERNAL else _LEVELS[reason.plane]


def _event_name(decision: Decision, reason: Reason | None) -> str:
    """The name of a request's event. `request_admitted`, `request_public` and `request_local` were answered, `request_refused`
    was refused, `request_failed` failed at the API or the sidecar, and `request_lapsed` was ended together with its token."""
    # 1. It was refused, or went well.
    if decision is Decision.REFUSED or reason is None:
        return f"request_{decision.value}"
    # 2. The API or the sidecar failed.
    if reason.plane in (Plane.UPSTREAM, Plane.SIDECAR):
        return "request_failed"
    # 3. It was admitted and then ended: by the caller's fault, or because its token ended.
    if decision in _PASSED:
        return "request_refused" if reason.plane is Plane.REQUEST else "request_lapsed"
    # 4. One of the sidecar's own endpoints refused it.
    return f"request_{decision.value}"


def _known(event: TokenIssued | PersonEvent) -> dict[str, str]:
    """The fields of an event that are not `None`, with a reason as its word."""
    fields = ((name, value.word if isinstance(value, Reason) else value) for name, value in event._asdict().items())
    return {name: value for name, value in fields if value is not None}


class AccessLog:
    """Logs the events of requests, tokens, users and the store. `admitted_level` is `off`, or the level of admitted requests.
    With `lines`, the frequent events go there instead of to the logger."""

    def __init__(
        self,
        logger: logging.Logger,
        admitted_level: Literal["off", "debug", "info"],
        lines: RequestLines | None = None,
    ) -> None:
        self._logger = logger
        self._lines = lines
        self._admitted = {"off": 0, "debug": logging.DEBUG, "info": logging.INFO}[admitted_level]
        self.admitted_shown = self._admitted != 0 and logger.isEnabledFor(self._admitted)

    def close(self) -> None:
        """Write the waiting lines."""
        if self._lines is not None:
            self._lines.flush()

    def on_event(self, event: Event) -> None:
        """Log an event, if it is of a kind that is logged."""
        match event:
            case SecretUsed() | StoreUsed():
                pass  # come with almost every token, so they are looked for first; they have no line
            case TokenIssued():
                self._issued(event)
            case RequestDone():
                if event.told:
                    pass  # another event has logged it already
                elif event.reason is not None:
                    self._request(_level(event.reason), event)
                elif self.admitted_shown:
                    self._request(self._admitted, event)
            case StoreChanged():
                level = logging.INFO if event.up else logging.WARNING
                self._logger.log(level, "store_up" if event.up else "store_down", extra={"detail": event.detail})
            case StoreNoted():
                self._logger.warning(event.name, extra={"detail": event.detail})
            case TokenRevoked():
                self._logger.info("token_revoked", extra=event._asdict())
            case UserLoggedIn() | LoginFailed() | UserLoggedOut() | LogoutFailed():
                self._person(event)

    def _person(self, event: PersonEvent) -> None:
        failed = event.reason if isinstance(event, LoginFailed | LogoutFailed) else None
        level = logging.INFO if failed is None else _level(failed)
        name, fields = _PERSON_EVENTS[type(event)], _known(event)
        if self._lines is None:
            self._logger.log(level, name, extra=fields)
        elif self._logger.isEnabledFor(level):
            self._lines.add_fields(level, name, fields)

    def _issued(self, event: TokenIssued) -> None:
        if self._lines is None:
            self._logger.info("token_issued", extra=_known(event))
        elif self._logger.isEnabledFor(logging.INFO):
            self._lines.add_issued(event)

    def _request(self, level: int, event: RequestDone) -> None:
        if self._lines is not None:
            if self._logger.isEnabledFor(level):
                self._lines.add(level, event)
            return
        fields: dict[str, object] = {
            "status": event.status,
            "method": event.method,
            "path": event.path,
            "peer": event.peer,
            "client_id": event.client_id,
            "user": event.user,
            "request_id": event.request_id,
            "milliseconds": round(event.seconds * 1000, 1),
        }
        if event.reason is not None:
            fields = {"reason": event.reason.word, "plane": event.reason.plane.value, **fields}
        if event.fault is not None:
            fields |= {"cause": event.fault.cause.word, "detail": event.fault.detail}
            fields["upstream"] = event.fault.upstream or None
        self._logger.log(
            level,
            _event_name(event.decision, event.reason),
            extra={key: value for key, value in fields.items() if value is not None},
        )
