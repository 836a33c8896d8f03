"""The control protocol: what the supervisor and a worker send each other over their socket pair.

The supervisor asks, and the worker answers. Without being asked, a worker says that it accepts connections, why it cannot
start, and at its end what it has counted. A message is one line of JSON::

    {"kind": "ready", "number": 7}                  a question
    {"kind": "prepare", "number": 8, "with": "…"}   a question with what it is about
    {"kind": "ready", "number": 7, "body": {…}}     its answer
    {"kind": "fault", "number": 0, "body": "…"}     said without a question

- Questions are numbered from 1, and an answer repeats the number of its question. The supervisor drops an answer that arrives
  too late, so it never takes it for the answer to a later question.
- The first line that is not a message ends the conversation for the process that reads it. Neither process ends because of it.
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast

from sidecar.ops.console.facts import is_tally, is_worker
from sidecar.ops.snapshots import Snapshot, is_snapshot

_LONGEST: Final = (
    64 * 1024 * 1024
)  # bytes of a line: a snapshot has about 60 for each client secret, settings about 300


class Kind(StrEnum):
    """What a message is about."""

    SNAPSHOT = "snapshot"  # the worker's counters: an `ops.metrics.Snapshot`
    TALLY = "tally"  # the part of them that the console's history needs: an `ops.console.facts.Tally`
    FACTS = "facts"  # what the console shows of the worker: an `ops.console.facts.WorkerFacts`
    ALIVE = "alive"  # `true`: the worker's event loop runs
    READY = "ready"  # the worker's checks: each name with `None`, or with what is wrong
    PREPARE = "prepare"  # with settings: why the worker cannot apply them, empty when it can
    USE = "use"  # `true`: the worker has applied what it prepared last
    DRAIN = "drain"  # `true`: the worker has begun the soft drain
    LEAVE = "leave"  # `true`: the worker stops, and leaves waiting connections to the others
    OPEN = "open"  # not asked: `true`, the worker accepts connections
    FAULT = "fault"  # not asked: a sentence that says why the worker cannot start


class Question(NamedTuple):
    """A message of the supervisor. `number` is at least 1. `text` belongs to a `PREPARE`; it is empty otherwise."""

    kind: Kind
    number: int
    text: str = ""


class Answer(NamedTuple):
    """A message of a worker. `number` is that of the question, or 0 for what it says without being asked."""

    kind: Kind
    number: int
    body: Any


Message = Question | Answer


class Garbled(Exception):
    """The other end sent something that is not a message. The text says what is wrong with it."""


def encode(message: Message) -> bytes:
    """The line of a message. The body of an answer must be JSON."""
    fields = message._asdict()
    if isinstance(message, Question):
        text = fields.pop("text")
        fields |= {"with": text} if text else {}
    return json.dumps(fields).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line, with or without its line feed. Raises `Garbled`."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise Garbled("a line is not JSON") from None
    match fields:
        case {"kind": str(name), "number": int(number), **rest} if name in _BODIES and not isinstance(number, bool):
            kind = Kind(name)
            asked = number >= 1 and kind not in (Kind.FAULT, Kind.OPEN)
            if asked and (rest.keys() == {"with"} if kind is Kind.PREPARE else not rest):
                text = rest.get("with", "")
                if isinstance(text, str):
                    return Question(kind, number, text)
            if (
                rest.keys() == {"body"}
                and (asked or (number == 0 and kind in _UNASKED))
                and _BODIES[kind](rest["body"])
            ):
                return Answer(kind, number, rest["body"])
    raise Garbled("a line is neither a question nor an answer")


def _is_checks(body: object) -> bool:
    return isinstance(body, dict) and all(fault is None or isinstance(fault, str) for fault in body.values())


_BODIES: Final[Mapping[str, Callable[[object], bool]]] = {
    Kind.SNAPSHOT: is_snapshot,
    Kind.TALLY: is_tally,
    Kind.FACTS: is_worker,
    Kind.ALIVE: lambda body: body is True,
    Kind.READY: _is_checks,
    Kind.PREPARE: lambda body: isinstance(body, str),
    **dict.fromkeys((Kind.USE, Kind.DRAIN, Kind.LEAVE, Kind.OPEN), lambda body: body is True),
    Kind.FAULT: lambda body: isinstance(body, str),
}


_UNASKED: Final = frozenset([Kind.FAULT, Kind.OPEN, Kind.SNAPSHOT])


class Framing:
    """Bytes in, messages out."""

    def __init__(self, longest: int = _LONGEST) -> None:
        self._longest = longest
        self._unfinished = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete. Raises `Garbled`, also for a line of more than `longest` bytes. After that
        the framing must not be used any more."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            lines.append(bytes(self._unfinished + end))
            self._unfinished.clear()
        self._unfinished += rest
        if len(self._unfinished) > self._longest or any(len(line) > self._longest for line in lines):
            raise Garbled(f"a line has more than {self._longest} bytes")
        return [decode(line) for line in lines]


class _Waiting(NamedTuple):
    kind: Kind
    answer: asyncio.Future[Any]


class Conversation(asyncio.Protocol):
    """The supervisor's end of a socket pair. `fault` is why the worker cannot start, once it has said so, and `last_counts` its
    last snapshot. `open` is set once the worker accepts connections. `over` is set when the worker has closed its end, or has
    sent something that is not a message; in that case `on_garbled` is called."""

    def __init__(self, on_garbled: Callable[[Garbled], None]) -> None:
        self.fault: str | None = None
        self.last_counts: Snapshot | None = None
        self.open = asyncio.Event()
        self.over = asyncio.Event()
        self._on_garbled = on_garbled
        self._framing = Framing()
        self._transport: asyncio.Transport | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Allow questions from now on."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass each answer to the caller that waits for it."""
        if self.over.is_set():
            return
        try:
            for message in self._framing.feed(data):
                self._take(message)
        except Garbled as exc:
            if self._transport is not None:
                # Not closed: that would tell the worker that its parent is gone.
                self._transport.pause_reading()
            self._end()
            self._on_garbled(exc)

    def _take(self, message: Message) -> None:
        if isinstance(message, Question):
            raise Garbled("a worker asks")
        if message.number == 0:
            self._told(message)
            return
        waiting = self._waiting.get(message.number)
        if waiting is None:
            return  # too late
        if waiting.kind is not message.kind:
            raise Garbled("an answer is to another question than its number says")
        if not waiting.answer.done():
            waiting.answer.set_result(message.body)

    def _told(self, message: Answer) -> None:
        if message.kind is Kind.FAULT:
            self.fault = message.body
        elif message.kind is Kind.OPEN:
            self.open.set()
        else:
            self.last_counts = message.body

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """The worker has closed its end."""
        self._end()

    def _end(self) -> None:
        self.over.set()
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_result(None)

    async def ask(self, kind: Kind, within: float, text: str = "") -> Any | None:
        """The body of the worker's answer, or `None` when the worker does not answer within this many seconds."""
        if self._transport is None or self.over.is_set():
            return None
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = _Waiting(kind, answer)
        try:
            self._transport.write(encode(Question(kind, number, text)))
            async with asyncio.timeout(within):
                return await answer
        except (TimeoutError, OSError, RuntimeError):  # the last is uvloop's, when the worker is gone
            return None
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Close the supervisor's end, which tells the worker that its parent is gone."""
        if self._transport is not None:
            self._transport.close()
