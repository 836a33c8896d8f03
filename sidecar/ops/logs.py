"""Logs on stderr: one JSON object a line, or text for an operator at a terminal.

The sidecar never passes a credential to a logger (`core.events` carries none). Texts of libraries and tracebacks go through
`redact` all the same. Text that a caller chose is escaped, so that one event is one line, and tokens in it, such as in a path,
are removed.

All output goes through one `LogWriter`, so that a slow reader of the log delays no request.
"""

import atexit
import json
import logging
import re
import sys
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Literal, TextIO

from sidecar.ops.log_writer import LogWriter
from sidecar.ops.redaction import redact, without_tokens

_STANDARD: Final = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"])
_LONGEST: Final = 1024
_LAST_WORDS: Final = 0.5  # seconds that the process waits for the reader at its end
_escaped: Final = json.encoder.encode_basestring_ascii


def configure(
    level: str, fmt: Literal["auto", "json", "text"], stream: TextIO | None = None, *, alone: bool = True
) -> None:
    """Send every log record to `stream`; `auto` writes text to a terminal and JSON elsewhere. The default is stderr through a
    `LogWriter`, so that no write to it blocks, not even that of a traceback or warning that bypasses the loggers. `alone`: no
    other process of the sidecar writes there."""
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
    """Replaces Python's own `sys.stderr` with a `LogWriter`. A stream that other code has put there stays."""
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
    """The number of log lines that this process has dropped so far."""
    streams = [getattr(handler, "stream", None) for handler in logging.getLogger().handlers]
    return sum(stream.dropped for stream in streams if isinstance(stream, LogWriter))


def last_words() -> None:
    """Write the waiting lines, as far as the reader takes them soon. For a process that ends without `atexit`."""
    for handler in logging.getLogger().handlers:
        stream = getattr(handler, "stream", None)
        if isinstance(stream, LogWriter):
            stream.drain(_LAST_WORDS)


class JsonFormatter(logging.Formatter):
    """`{"time", "pid", "level", "event", …}`: the message of a record is the name of the event; its `extra` are the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON, in ASCII."""
        head = {"time": _time(record), "pid": record.process, "level": record.levelname.lower()}
        return json.dumps({**head, **_fields(self, record)}, default=str)


class TextFormatter(logging.Formatter):
    """`12:00:00 [pid] info event key=value …`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, followed by the traceback if there is one."""
        fields = _fields(self, record)
        event, trace = fields.pop("event"), fields.pop("exception", "")
        rest = "".join(f" {name}={_quoted(value)}" for name, value in fields.items())
        line = f"{_time(record)[11:19]} [{record.process}] {record.levelname.lower():7} {_quoted(event)}{rest}"
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
            fields[name] = shown(value) if isinstance(value, str) else value
    if record.exc_info:
        fields["exception"] = redact(formatter.formatException(record.exc_info))
    return fields


def shown(text: str) -> str:
    """A text that a caller may have chosen, cut to `_LONGEST` characters and without tokens."""
    return without_tokens(text, _LONGEST)


def _quoted(value: object) -> str:
    """A plain text as it is, any other as a JSON string, so that no control character reaches a terminal. A list is its items,
    with a semicolon between them."""
    text = "; ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if re.fullmatch(r"[\w./:,@*+-]+", text, re.ASCII) else json.dumps(text)
