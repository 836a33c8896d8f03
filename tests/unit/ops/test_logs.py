"""Logs: one event, one line, nothing that opens a door and nothing that moves a cursor."""

import io
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.events import (
    Decision,
)
from sidecar.core.reasons import Reason
from sidecar.ops.access_log import AccessLog
from sidecar.ops.log_writer import LogWriter
from sidecar.ops.logs import JsonFormatter, TextFormatter, configure, lines_dropped, redact
from tests.support.logged import TOKEN, done, records

SECRETS = {
    f"Authorization: Bearer {TOKEN}": TOKEN,
    f"GET /x?access_token={TOKEN}&a=b": TOKEN,
    "client_secret=canary&a=b": "canary",
    '{"client_secret": "canary"}': "canary",
    "Authorization: Basic Y2FuYXJ5OmNhbmFyeQ==": "Y2FuYXJ5OmNhbmFyeQ==",
    "cannot connect to redis://user:canary@host:6379/0": "canary",
    "password='canary'": "canary",
    "refresh_token: canary": "canary",
}


@pytest.mark.parametrize("text", SECRETS)
def test_what_opens_a_door_is_taken_out(text: str) -> None:
    assert SECRETS[text] not in redact(text)


def test_the_rest_stays() -> None:
    text = "cannot connect to redis.example:6379: timed out (token endpoint)"
    assert redact(text) == text


def test_a_record_is_one_json_object_a_line(stream: io.StringIO) -> None:
    configure("info", "json", stream)
    logging.getLogger("sidecar").info("listening", extra={"public": "http://127.0.0.1:1"})
    (record,) = records(stream)
    assert (record["event"], record["level"], record["public"]) == ("listening", "info", "http://127.0.0.1:1")
    assert record["time"].endswith("Z")


@pytest.mark.parametrize("fmt", ["json", "text"])
@pytest.mark.parametrize("value", ["a\nb", "a\r\nevil", "\x1b[31mred", "\x9b31m", "\u2028", "\x00", "\ud800", "a b"])
def test_no_control_character_is_written(stream: io.StringIO, fmt: Any, value: str) -> None:
    configure("info", fmt, stream)
    AccessLog(logging.getLogger("sidecar.access"), "debug").on_event(done(Decision.REFUSED, Reason.EXPIRED, value))
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert all(" " <= character <= "~" for character in text.rstrip("\n"))


@given(st.text())
def test_any_text_is_one_line_in_either_format(value: str) -> None:
    record = logging.makeLogRecord({"name": "sidecar", "msg": "event", "levelname": "INFO", "path": value})
    for formatter in (JsonFormatter(), TextFormatter()):
        line = formatter.format(record)
        assert all(" " <= character <= "~" for character in line)


def test_text_names_the_fields(stream: io.StringIO) -> None:
    configure("info", "text", stream)
    AccessLog(logging.getLogger("sidecar.access"), "off").on_event(done(Decision.REFUSED, Reason.EXPIRED))
    line = stream.getvalue()
    assert "info    request_refused reason=expired plane=protected status=401 method=GET path=/x" in line


def test_a_list_is_its_items_in_text(stream: io.StringIO) -> None:
    configure("info", "text", stream)
    logging.getLogger("sidecar.x").error("config_rejected", extra={"faults": ["listen: no 'x'", "b: \n"], "none": []})
    assert stream.getvalue().endswith('config_rejected faults="listen: no \'x\'; b: \\n" none=""\n')


def test_a_traceback_is_kept_and_redacted(stream: io.StringIO) -> None:
    configure("info", "json", stream)
    try:
        raise ValueError(f"no good: client_secret=canary {TOKEN}")
    except ValueError:
        logging.getLogger("sidecar").exception("internal_error")
    (record,) = records(stream)
    assert "ValueError: no good" in record["exception"]
    assert "canary" not in record["exception"]
    assert TOKEN not in record["exception"]


def test_libraries_speak_from_warning_on_and_redacted(stream: io.StringIO) -> None:
    configure("debug", "json", stream)
    logging.getLogger("redis").info("not this")
    logging.getLogger("redis").warning("password=canary")
    (record,) = records(stream)
    assert record["logger"] == "redis"
    assert "canary" not in str(record)


def test_a_long_value_is_cut(stream: io.StringIO) -> None:
    configure("info", "json", stream)
    AccessLog(logging.getLogger("sidecar.access"), "off").on_event(
        done(Decision.REFUSED, Reason.EXPIRED, "/" * 100_000)
    )
    assert len(stream.getvalue()) < 2000


def test_a_broken_stream_raises_nothing(stream: io.StringIO) -> None:
    configure("info", "json", stream)
    stream.close()
    logging.getLogger("sidecar").info("listening")


@pytest.mark.parametrize(
    ("fmt", "line"),
    [
        ("json", r'\{"time": "[^"]+Z", "pid": \d+, "level": "warning", "event": "log_lines_dropped", "lines": 3\}'),
        ("text", r"[\d:]{8} \[\d+\] warning log_lines_dropped lines=3"),
    ],
)
def test_dropped_lines_are_told_in_the_format_of_the_others(
    stream: io.StringIO, tmp_path: Path, fmt: Any, line: str
) -> None:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    writer = LogWriter(descriptor)
    configure("error", fmt, writer)
    assert re.fullmatch(line + "\n", writer.notice(3))
    logging.getLogger("sidecar").error("event")
    writer.drain(10)
    assert len((tmp_path / "log").read_text().splitlines()) == 1
    assert lines_dropped() == 0
    writer.dropped = 3
    assert lines_dropped() == 3
    os.close(descriptor)
