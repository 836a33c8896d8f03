"""The control protocol without processes: bytes in, messages or a fault out; and which answer belongs to which question."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from sidecar.ops.console.facts import Tally, packed
from sidecar.ops.metrics import Metrics
from sidecar.ops.snapshots import Readings
from sidecar.runtime.control import (
    Answer,
    Conversation,
    Framing,
    Garbled,
    Kind,
    Message,
    Question,
    decode,
    encode,
)
from tests.support.console import refusals, worker

SNAPSHOT = Metrics(
    lambda: Readings({"sidecar_token_cache_hits_total": {"": 4}}, {"sidecar_tunnels": {"": 3}})
).snapshot()
MESSAGES: list[Message] = [
    Question(Kind.SNAPSHOT, 1),
    Question(Kind.READY, 2**40),
    Answer(Kind.SNAPSHOT, 1, SNAPSHOT),
    Answer(Kind.READY, 7, {"store": None, "upstream": "it is gone\n\u2028"}),
    Answer(Kind.READY, 8, {}),
    Answer(Kind.TALLY, 9, packed(Tally({"admitted 200": 1}, {}))),
    Answer(Kind.FACTS, 10, packed(worker(7, refusals=refusals()))),
    Answer(Kind.FAULT, 0, "no thread"),
]
STREAM = b"".join(map(encode, MESSAGES))


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_a_message_is_one_line_that_reads_back(message: Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == decode(line[:-1]) == message


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, len(STREAM)])
def test_messages_are_found_however_the_bytes_come(size: int) -> None:
    framing = Framing()
    found = [message for at in range(0, len(STREAM), size) for message in framing.feed(STREAM[at : at + size])]
    assert found == MESSAGES


def test_an_unfinished_line_is_no_message_yet() -> None:
    framing = Framing()
    assert framing.feed(STREAM[:-1]) == MESSAGES[:-1]
    assert framing.feed(b"") == []
    assert framing.feed(b"\n") == MESSAGES[-1:]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"snapshot",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"1",
        b"null",
        b"[]",
        b"{}",
        b'{"kind": "ready"}',
        b'{"number": 1}',
        b'{"kind": "ready", "number": "1"}',
        b'{"kind": "ready", "number": 1.0}',
        b'{"kind": "ready", "number": true}',
        b'{"kind": "ready", "number": 0}',
        b'{"kind": "ready", "number": -1}',
        b'{"kind": "READY", "number": 1}',
        b'{"kind": ["ready"], "number": 1}',
        b'{"kind": "unknown", "number": 1}',
        b'{"kind": "fault", "number": 1}',
        b'{"kind": "ready", "number": 1, "more": 1}',
        b'{"kind": "ready", "number": 1, "body": {}, "more": 1}',
        b'{"kind": "ready", "number": 0, "body": {}}',
        b'{"kind": "ready", "number": 1, "body": null}',
        b'{"kind": "ready", "number": 1, "body": ["store"]}',
        b'{"kind": "ready", "number": 1, "body": {"store": 1}}',
        b'{"kind": "fault", "number": 0, "body": {}}',
        b'{"kind": "fault", "number": 1, "body": "no thread"}',
        b'{"kind": "snapshot", "number": 1, "body": {}}',
        b'{"kind": "tally", "number": 1, "body": {}}',
        b'{"kind": "facts", "number": 1, "body": {}}',
        encode(Answer(Kind.READY, 1, {})) + b"{",
    ],
)
def test_a_line_that_is_no_message_is_a_fault(line: bytes) -> None:
    with pytest.raises(Garbled):
        decode(line)
    with pytest.raises(Garbled):
        Framing().feed(encode(Question(Kind.READY, 1)) + line + b"\n")


@pytest.mark.parametrize("part", SNAPSHOT)
@pytest.mark.parametrize("value", [None, "x", {"x": "y"}, [1]], ids=str)
def test_a_snapshot_that_could_not_be_added_up_is_a_fault(part: str, value: object) -> None:
    with pytest.raises(Garbled):
        decode(encode(Answer(Kind.SNAPSHOT, 1, {**SNAPSHOT, part: value})))
    with pytest.raises(Garbled):
        decode(encode(Answer(Kind.SNAPSHOT, 1, {name: body for name, body in SNAPSHOT.items() if name != part})))


@pytest.mark.parametrize("data", [b"x" * 51, b"x" * 51 + b"\n", STREAM], ids=["unfinished", "finished", "messages"])
def test_a_line_that_is_too_long_is_a_fault_whether_it_ends_or_not(data: bytes) -> None:
    with pytest.raises(Garbled, match="more than 50 bytes"):
        Framing(longest=50).feed(data)


def test_a_line_that_grows_too_long_is_a_fault() -> None:
    framing = Framing(longest=50)
    assert framing.feed(b"x" * 30) == []
    with pytest.raises(Garbled, match="more than 50 bytes"):
        framing.feed(b"x" * 30)


class Worker:
    """The other end of the pair, and what the supervisor's end said about it."""

    def __init__(self) -> None:
        ours, self.socket = socket.socketpair()
        self.socket.setblocking(False)
        self.garbled: list[str] = []
        self.conversation = Conversation(lambda exc: self.garbled.append(str(exc)))
        self._ours = ours

    async def connected(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self.conversation, sock=self._ours)

    def asked(self, kind: Kind, within: float = 10) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(self.conversation.ask(kind, within))

    async def question(self) -> Message:
        """The next question; one at a time."""
        return decode(await asyncio.get_running_loop().sock_recv(self.socket, 1000))

    async def send(self, *messages: Message) -> None:
        await self.send_bytes(b"".join(map(encode, messages)))

    async def send_bytes(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)


def with_worker(test: Callable[[Worker], Awaitable[None]]) -> Callable[[], None]:
    """Run it on uvloop, as the sidecar does."""

    async def main() -> None:
        worker = Worker()
        await worker.connected()
        try:
            await test(worker)
        finally:
            worker.conversation.close()
            worker.socket.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    run.__doc__ = test.__doc__
    return run


@with_worker
async def test_an_answer_reaches_who_asked_also_in_another_order(worker: Worker) -> None:
    first, second = worker.asked(Kind.READY), worker.asked(Kind.SNAPSHOT)
    questions = Framing().feed(await asyncio.get_running_loop().sock_recv(worker.socket, 1000))
    assert questions == [Question(Kind.READY, 1), Question(Kind.SNAPSHOT, 2)]
    await worker.send(Answer(Kind.SNAPSHOT, 2, SNAPSHOT), Answer(Kind.READY, 1, {"store": None}))
    assert (await first, await second) == ({"store": None}, SNAPSHOT)


@with_worker
async def test_an_answer_that_comes_late_is_not_taken_for_that_to_the_next_question(worker: Worker) -> None:
    assert await worker.asked(Kind.READY, within=0.01) is None
    late = await worker.question()
    again = worker.asked(Kind.READY)
    question = await worker.question()
    assert (late.number, question.number) == (1, 2)
    await worker.send(Answer(Kind.READY, late.number, {"store": "old"}))
    await worker.send(Answer(Kind.READY, question.number, {"store": "new"}))
    assert await again == {"store": "new"}
    assert worker.garbled == []


@with_worker
async def test_an_answer_to_what_nobody_asked_is_dropped(worker: Worker) -> None:
    asked = worker.asked(Kind.READY)
    await worker.question()
    await worker.send(
        Answer(Kind.READY, 99, {"store": "?"}), Answer(Kind.READY, 1, {}), Answer(Kind.READY, 1, {"b": ""})
    )
    assert await asked == {}
    assert worker.garbled == []


@pytest.mark.parametrize(
    "data",
    [
        b"Traceback (most recent call last):\n",
        encode(Question(Kind.READY, 1)),
        encode(Answer(Kind.SNAPSHOT, 1, SNAPSHOT)),
        encode(Answer(Kind.READY, 1, {}))[:-1] + b"}\n",
    ],
    ids=["no JSON", "a question", "an answer of another kind", "an answer and more"],
)
def test_garbage_ends_the_conversation_and_nothing_else(data: bytes) -> None:
    """Who waits gets no answer at once, the worker is not told that its parent is gone, and nothing more is read."""

    async def test(worker: Worker) -> None:
        asked = worker.asked(Kind.READY)
        await worker.question()
        await worker.send_bytes(data + encode(Answer(Kind.READY, 1, {})))
        assert await asked is None
        assert worker.conversation.over.is_set()
        assert len(worker.garbled) == 1
        assert await worker.asked(Kind.READY) is None
        await worker.send_bytes(data)
        with pytest.raises(BlockingIOError):
            worker.socket.recv(1)
        assert len(worker.garbled) == 1

    with_worker(test)()


@with_worker
async def test_a_fault_is_heard_without_a_question(worker: Worker) -> None:
    """Also when the worker ends at once."""
    await worker.send(Answer(Kind.FAULT, 0, "no thread"))
    worker.socket.close()
    await worker.conversation.over.wait()
    assert worker.conversation.fault == "no thread"
    assert worker.garbled == []


@with_worker
async def test_a_worker_that_is_gone_gives_no_answer(worker: Worker) -> None:
    """Neither to who waits for one, nor to a parent that asks it again before it has noticed its end."""
    waiting = worker.asked(Kind.READY)
    await worker.question()
    worker.socket.close()
    assert await worker.conversation.ask(Kind.READY, 10) is None
    assert await waiting is None
    assert await worker.conversation.ask(Kind.SNAPSHOT, 10) is None
    worker.conversation.close()
    assert await worker.conversation.ask(Kind.READY, 10) is None


def test_before_it_is_connected_nothing_is_asked() -> None:
    conversation = Conversation(lambda _: None)
    assert asyncio.run(conversation.ask(Kind.READY, 10)) is None
    conversation.close()


def test_the_line_of_a_question() -> None:
    assert json.loads(encode(Question(Kind.READY, 3))) == {"kind": "ready", "number": 3}
