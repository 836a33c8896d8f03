"""Logs on stderr: one JSON object a line, or text for a person at a terminal.

Nothing that could open a door is ever passed to a logger (`core.events` carries no such thing). What libraries and
tracebacks say passes through `redact` all the same. Everything a caller chose is escaped, so that one event is one line, and
a token that stands in it, as in a path, is taken out.

All of it goes through one `LogWriter`, so that nobody who reads slowly holds up a request.
"""

import atexit
import contextlib
import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Final, Literal, TextIO

from sidecar.core.causes import Fault
from sidecar.core.events import (
    Decision,
    Event,
    LoginFailed,
    LogoutFailed,
    PersonEvent,
    RequestDone,
    StoreChanged,
    StoreNoted,
    TokenIssued,
    TokenRevoked,
    UserLoggedIn,
    UserLoggedOut,
)
from sidecar.core.reasons import Plane, Reason
from sidecar.ops.log_writer import LogWriter
from sidecar.ops.redaction import redact, without_tokens

_STANDARD: Final = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"])
_LEVELS: Final = {
    Plane.PROTECTED: logging.INFO,
    Plane.TOKEN: logging.INFO,
    Plane.REQUEST: logging.INFO,
    Plane.UPSTREAM: logging.WARNING,
    Plane.SIDECAR: logging.WARNING,
}
_INTERNAL: Final = Reason.INTERNAL  # in Python 3.11 a member is looked up by a function, each time
_PASSED: Final = frozenset([Decision.ADMITTED, Decision.PUBLIC])
_PERSON_EVENTS: Final[Mapping[type[PersonEvent], str]] = {
    UserLoggedIn: "login",
    LoginFailed: "login_failed",
    UserLoggedOut: "logout",
    LogoutFailed: "logout_failed",
}
_LONGEST: Final = 1024
_FLUSH_AFTER: Final = 0.1  # seconds
_MOST_LINES: Final = 500
_LAST_WORDS: Final = 0.5  # seconds that the end of the process waits for who reads
_escaped: Final = json.encoder.encode_basestring_ascii


def configure(
    level: str, fmt: Literal["auto", "json", "text"], stream: TextIO | None = None, *, alone: bool = True
) -> None:
    """Send every log record to `stream`; `auto` writes text to a terminal and JSON elsewhere. Without one it is stderr, which
    is never waited for, whoever writes to it: tracebacks and warnings that bypass the loggers, too. `alone`: no other process
    of ours writes there."""
    stream = stream or _stderr()
    as_text = fmt == "text" or (fmt == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("sidecar").setLevel(level.upper())
    logging.raiseExceptions = False  # a full disk or a closed pipe must not end in a traceback on every request
    if isinstance(stream, LogWriter):
        stream.alone = alone
        stream.notice = lambda count: handler.format(_dropped(count)) + handler.terminator


def _stderr() -> TextIO:
    """Ours in the place of Python's; what somebody else has put there stays."""
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stderr_writer()
    return sys.stderr


@cache
def _stderr_writer() -> LogWriter:
    writer = LogWriter(2)
    atexit.register(writer.drain, _LAST_WORDS)
    return writer


def _dropped(count: int) -> logging.LogRecord:
    fields = {"name": "sidecar", "levelno": logging.WARNING, "levelname": "WARNING", "msg": "log_lines_dropped"}
    return logging.makeLogRecord({**fields, "lines": count})


def lines_dropped() -> int:
    """How many lines of this process were dropped so far."""
    streams = [getattr(handler, "stream", None) for handler in logging.getLogger().handlers]
    return sum(stream.dropped for stream in streams if isinstance(stream, LogWriter))


def last_words() -> None:
    """Write what waits, as far as who reads it takes it soon: for an end that comes without `atexit`."""
    for handler in logging.getLogger().handlers:
        stream = getattr(handler, "stream", None)
        if isinstance(stream, LogWriter):
            stream.drain(_LAST_WORDS)


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "event", …}`: the message is the event's name, what came with it are fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON, in ASCII."""
        return json.dumps(
            {"time": _time(record), "level": record.levelname.lower(), **_fields(self, record)}, default=str
        )


class TextFormatter(logging.Formatter):
    """`12:00:00 info event key=value …`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it if there is one."""
        fields = _fields(self, record)
        event, trace = fields.pop("event"), fields.pop("exception", "")
        rest = "".join(f" {name}={_quoted(value)}" for name, value in fields.items())
        line = f"{_time(record)[11:19]} {record.levelname.lower():7} {_quoted(event)}{rest}"
        return f"{line}\n{trace}" if trace else line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    ours = record.name == "sidecar" or record.name.startswith("sidecar.")
    fields: dict[str, Any] = {"event": record.getMessage() if ours else redact(record.getMessage())}
    if not ours:
        fields["logger"] = record.name
    for name, value in vars(record).items():
        if name not in _STANDARD:
            fields[name] = _shown(value) if isinstance(value, str) else value
    if record.exc_info:
        fields["exception"] = redact(formatter.formatException(record.exc_info))
    return fields


def _shown(text: str) -> str:
    """What may have been chosen by a caller: not too much of it, and no token."""
    return without_tokens(text, _LONGEST)


def _quoted(value: object) -> str:
    """As it is when it is plain, else as a JSON string: no control character reaches a terminal."""
    text = str(value)
    return text if re.fullmatch(r"[\w./:,@*+-]+", text, re.ASCII) else json.dumps(text)


class RequestLines:
    """Writes what happened to requests, and which tokens were issued, as `JsonFormatter` would, but many lines at a time, and
    without a record for each: whoever is refused in a storm must not cost more than who is admitted.

    `later` calls a function after some seconds, and `clock` gives epoch seconds.
    """

    def __init__(
        self, stream: TextIO, *, later: Callable[[float, Callable[[], None]], object], clock: Callable[[], float]
    ) -> None:
        self._stream = stream
        self._later = later
        self._clock = clock
        self._lines: list[str] = []
        self._second = (-1, "")

    def __repr__(self) -> str:
        return f"<RequestLines {len(self._lines)} waiting>"

    def add(self, level: int, event: RequestDone) -> None:
        """Take a line; it is written within a tenth of a second."""
        decision, status, seconds, _, reason, method, path, client_id, peer, fault, user, _ = event
        who = _named("client_id", client_id) + _named("user", user)
        self._take(
            f'{{"time": "{self._time()}", {_outcome(level, decision, reason, status)}, '
            f'"method": {_escaped(_shown(method))}, "path": {_escaped(_shown(path))}, '
            f'"peer": {_escaped(peer)}{who}, "milliseconds": {seconds * 1000:.1f}{_because(fault)}}}\n'
        )

    def add_issued(self, event: TokenIssued) -> None:
        """Take the line of a token, which is written as soon."""
        self._take(
            f'{{"time": "{self._time()}", "level": "info", "event": "token_issued", '
            f'"grant_type": {_escaped(event.grant_type)}, "client_id": {_escaped(_shown(event.client_id))}, '
            f'"jti": {_escaped(event.jti)}{_named("user", event.user)}}}\n'
        )

    def add_fields(self, level: int, name: str, fields: Mapping[str, str]) -> None:
        """Take the line of any other event, with what came with it."""
        rest = "".join(_named(*field) for field in fields.items())
        shown = logging.getLevelName(level).lower()
        self._take(f'{{"time": "{self._time()}", "level": "{shown}", "event": "{name}"{rest}}}\n')

    def _take(self, line: str) -> None:
        lines = self._lines
        if not lines:
            self._later(_FLUSH_AFTER, self.flush)
        lines.append(line)
        if len(lines) >= _MOST_LINES:
            self.flush()

    def _time(self) -> str:
        now = self._clock()
        second = int(now)
        if second != self._second[0]:
            self._second = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
        return f"{self._second[1]}.{int((now - second) * 1000):03d}Z"

    def flush(self) -> None:
        """Write what waits. A full disk or a closed pipe loses lines and costs nothing else."""
        lines, self._lines = self._lines, []
        if lines:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write("".join(lines))
                self._stream.flush()


def _named(name: str, value: str | None) -> str:
    """A member of a line, after others; nothing for nobody."""
    return "" if value is None else f', "{name}": {_escaped(_shown(value))}'


def json_stream() -> TextIO | None:
    """Where log records go as JSON, after `configure`."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and isinstance(handler.formatter, JsonFormatter):
            stream: TextIO = handler.stream
            return stream
    return None


@lru_cache(512)
def _outcome(level: int, decision: Decision, reason: Reason | None, status: int) -> str:
    """The members of a line that are often the same."""
    why = "" if reason is None else f'"reason": "{reason.word}", "plane": "{reason.plane.value}", '
    name = logging.getLevelName(level).lower()
    return f'"level": "{name}", "event": "{_event_name(decision, reason)}", {why}"status": {status}'


def _because(fault: Fault | None) -> str:
    """The members that say what is behind a reason."""
    if fault is None:
        return ""
    return f', "cause": {_escaped(fault.cause.word)}, "detail": {_escaped(_shown(fault.detail))}'


def _level(reason: Reason) -> int:
    """What a caller does wrong is no news; what the API or the sidecar does is, and a defect of ours is an error."""
    return logging.ERROR if reason is _INTERNAL else _LEVELS[reason.plane]


def _event_name(decision: Decision, reason: Reason | None) -> str:
    """What became of a request: `request_admitted`, `_public` and `_local` were answered, `_refused` was kept out, `_failed`
    is what the API or we owed an answer to, and `_lapsed` had been admitted when its token ended."""
    # 1. It was kept out, or went well.
    if decision is Decision.REFUSED or reason is None:
        return f"request_{decision.value}"
    # 2. The API or the sidecar failed.
    if reason.plane in (Plane.UPSTREAM, Plane.SIDECAR):
        return "request_failed"
    # 3. It was let through, and then did not go on: by its own fault, or for its token.
    if decision in _PASSED:
        return "request_refused" if reason.plane is Plane.REQUEST else "request_lapsed"
    # 4. One of our own endpoints said no.
    return f"request_{decision.value}"


def _known(event: TokenIssued | PersonEvent) -> dict[str, str]:
    """The fields of an event that there are, with a reason as its word."""
    fields = ((name, value.word if isinstance(value, Reason) else value) for name, value in event._asdict().items())
    return {name: value for name, value in fields if value is not None}


class AccessLog:
    """Writes a line for what an operator asks about. `admitted_level`: `off`, or the level of admitted requests. With
    `lines`, requests go there instead of to the logger."""

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
        """Write what waits."""
        if self._lines is not None:
            self._lines.flush()

    def on_event(self, event: Event) -> None:
        """Log an event, if it is one to be logged."""
        match event:
            case RequestDone():
                if event.told:
                    pass  # or it would seem to have happened twice
                elif event.reason is not None:
                    self._request(_level(event.reason), event)
                elif self.admitted_shown:
                    self._request(self._admitted, event)
            case StoreChanged():
                level = logging.INFO if event.up else logging.WARNING
                self._logger.log(level, "store_up" if event.up else "store_down", extra={"detail": event.detail})
            case StoreNoted():
                self._logger.warning(event.name, extra={"detail": event.detail})
            case TokenIssued():
                self._issued(event)
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
            "milliseconds": round(event.seconds * 1000, 1),
        }
        if event.reason is not None:
            fields = {"reason": event.reason.word, "plane": event.reason.plane.value, **fields}
        if event.fault is not None:
            fields |= {"cause": event.fault.cause.word, "detail": event.fault.detail}
        self._logger.log(
            level,
            _event_name(event.decision, event.reason),
            extra={key: value for key, value in fields.items() if value is not None},
        )
