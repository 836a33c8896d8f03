"""The process of one of several workers: it serves, and answers its parent's questions.

When the parent is gone, the worker drains. A separate thread watches the parent, so that even a worker that hangs ends, and
the system continues a worker that is stopped (SIGSTOP) at that moment.
"""

import asyncio
import base64
import contextlib
import ctypes
import multiprocessing
import pickle
import signal
import socket
import sys
import time
from typing import Final

from sidecar.assembly.app import Prepared, log_failure
from sidecar.assembly.facts import tally, worker_facts
from sidecar.config.settings import Settings
from sidecar.ops.console.facts import packed
from sidecar.runtime import signals
from sidecar.runtime.control import Answer, Framing, Garbled, Kind, Question, encode
from sidecar.runtime.ending import EndedBadly, in_background
from sidecar.runtime.reloading import NotApplied
from sidecar.runtime.sockets import Listener, StartError
from sidecar.runtime.worker import Worker, run, start_logging

_AT_A_TIME: Final = 64 * 1024  # bytes that a worker reads at a time
_PR_SET_PDEATHSIG: Final = 1
_NOTICED_WITHIN: Final = 1.0  # seconds for the event loop to notice that it has to stop


def pack(settings: Settings) -> str:
    """The settings as a text for `Kind.PREPARE`."""
    return base64.b64encode(pickle.dumps(settings)).decode()


def _unpack(text: str) -> Settings:
    settings: Settings = pickle.loads(base64.b64decode(text))  # noqa: S301  from the parent, over a pair of its own
    return settings


def work(settings: Settings, public: Listener, control: socket.socket, slot: int) -> None:
    """The main function of a worker process. Exit code 1: it could not start, or it failed later."""
    try:
        _go_on_without_parent()
        start_logging(settings, alone=False)
        run(_work(settings, public, control, slot))
    except StartError as exc:
        with contextlib.suppress(OSError):
            control.sendall(encode(Answer(Kind.FAULT, 0, str(exc))))
        sys.exit(1)
    except EndedBadly:
        sys.exit(1)


def _go_on_without_parent() -> None:
    """Have the system send SIGCONT to this process when its parent ends: it may be stopped then, and hold the port."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


async def _work(settings: Settings, public: Listener, control: socket.socket, slot: int) -> None:
    public.sock.setblocking(False)  # noqa: FBT003  the signature of the standard library
    worker = Worker(settings, public, shared=True, slot=slot)
    signals.heed(worker.stop)
    in_background(lambda: _leave_with_parent(worker), "parent")
    parent = Parent(worker)
    answering = asyncio.get_running_loop().create_task(parent.answer(control))
    try:
        await worker.run(parent.tell_open)
        await parent.tell_counts()
    finally:
        answering.cancel()


def _leave_with_parent(worker: Worker) -> None:
    process = multiprocessing.parent_process()
    assert process is not None  # noqa: S101  a worker has one
    process.join()
    _abandoned(worker)
    time.sleep(_NOTICED_WITHIN)
    if not worker.stopping:
        worker.end_socket()  # the event loop hangs, and no other process ends the socket


def _abandoned(worker: Worker) -> None:
    """Stop a worker that has no parent any more. The worker must end the socket, because no other process will."""
    worker.shared = False
    worker.stop()


class Parent:
    """The worker's end of the conversation with its parent."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._prepared: Prepared | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._open = False
        self._answering: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Parent {len(self._answering)} questions>"

    async def answer(self, control: socket.socket) -> None:
        """Answer the parent's questions until it is gone."""
        reader, self._writer = await asyncio.open_connection(sock=control)
        framing = Framing()
        try:
            if self._open:
                self.tell_open()
            while data := await reader.read(_AT_A_TIME):
                for message in framing.feed(data):
                    if not isinstance(message, Question):
                        raise Garbled("the parent answers")
                    # Each in a task of its own: a worker that prepares settings for a while is alive.
                    task = asyncio.get_running_loop().create_task(self._answer_to(message))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
        except Garbled as exc:
            log_failure("control", exc)
            return  # the parent still exists: the worker continues
        except OSError:
            pass  # the parent went away before it had read an answer
        finally:
            self._writer.close()
        _abandoned(self._worker)

    def tell_open(self) -> None:
        """Tell the parent that this worker accepts connections."""
        self._open = True
        self._send(Answer(Kind.OPEN, 0, body=True))

    async def tell_counts(self) -> None:
        """Give the parent the last counts, so that none is lost when the process ends."""
        self._send(Answer(Kind.SNAPSHOT, 0, self._worker.app.metrics.snapshot()))
        if self._writer is not None:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_NOTICED_WITHIN):
                    await self._writer.drain()

    def _send(self, answer: Answer) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(answer))

    async def _answer_to(self, question: Question) -> None:
        """Answer a question, unless a defect prevents that."""
        try:
            answer = Answer(question.kind, question.number, await self._body(question))
        except Exception as exc:  # noqa: BLE001  a defect here must not end the worker, and the socket with it
            log_failure(question.kind, exc)
        else:
            self._send(answer)

    async def _body(self, question: Question) -> object:
        worker = self._worker
        match question.kind:
            case Kind.SNAPSHOT:
                return worker.app.metrics.snapshot()
            case Kind.TALLY:
                return packed(tally(worker.app))
            case Kind.FACTS:
                return packed(worker_facts(worker.app))
            case Kind.READY:
                return dict(await worker.app.readiness())
            case Kind.PREPARE:
                return await self._prepare(_unpack(question.text))
            case Kind.USE:
                if self._prepared is not None:
                    worker.use(self._prepared)
                    self._prepared = None
            case Kind.DRAIN:
                worker.drain()
            case Kind.LEAVE:
                worker.leave()
        return True

    async def _prepare(self, settings: Settings) -> str:
        try:
            self._prepared = await asyncio.to_thread(self._worker.prepare, settings)
        except NotApplied as exc:
            return str(exc)
        except Exception as exc:  # noqa: BLE001  the worker has good settings, and continues with them
            log_failure("reload", exc)
            return "a worker failed to apply it: see internal_error in the log"
        return ""
