"""The revocations in Redis, as the feed needs them: the set, the stream, and the state about both (`stores.redis.scripts`)."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Literal

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from sidecar.core.events import EventHandler, StoreNoted, StoreUsed
from sidecar.core.ports import StoreCondition, StoreUnavailable
from sidecar.stores.redis import scripts
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.durability import risks_of_forgetting
from sidecar.stores.redis.feed import RevocationFeed, end_tasks, name_of
from sidecar.stores.redis.lua import Argument
from sidecar.stores.redis.source import Entries, Heartbeat, Revocations

STREAM_LENGTH: Final = 10_000
_CHUNK: Final = 500
_PAGE: Final = 2000  # revocations loaded at a time: some 2 ms of the server, and 5 of the event loop
_READ: Final = 1000  # entries of the stream read at a time
_GATHERED: Final = 0.005  # seconds between two readings of the stream in a storm


class RedisRevocations:
    """The feed's `Source`, under `prefix`; `interval` (seconds) is the time between heartbeats. `keys` are the keys of the
    scripts that revoke: set, stream, not-before times, state."""

    def __init__(
        self,
        server: Server,
        *,
        prefix: str,
        interval: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        emit: EventHandler,
        jitter: Callable[[], float],
    ) -> None:
        self._server = server
        self._redis = server.redis
        self._interval = interval
        self._clock = clock
        self._monotonic = monotonic
        self._emit = emit
        self._revoked, self._stream, self._state = (f"{prefix}:{name}" for name in ("revoked", "revocations", "state"))
        self._turn = f"{prefix}:turn"
        self._name = random.randbytes(8).hex().encode()  # noqa: S311  of this process, for its turns; not secret
        names = (self._revoked, self._stream, f"{prefix}:cutoffs", self._state)
        self.keys: Mapping[str, str] = dict(zip(scripts.REVOCATION_KEYS, names, strict=True))
        self._probe = self._server.script(scripts.PROBE)
        self._revoke = self._server.script(scripts.REVOKE)
        self._run_heartbeat = self._server.script(scripts.HEARTBEAT)
        self._take_turn = self._server.script(scripts.TURN)
        self._end_turn = self._server.script(scripts.END_TURN)
        self._sign = self._server.script(scripts.SIGN)
        self._make_whole = self._server.script(scripts.MAKE_WHOLE)
        self._risk = ""  # what was last said about a server that may forget
        self._fault_of_writes = ""  # why the store can be read but not written
        self.feed = RevocationFeed(self, interval=interval, clock=clock, monotonic=monotonic, emit=emit, jitter=jitter)

    def __repr__(self) -> str:
        return f"<RedisRevocations {self.feed}>"

    def condition(self) -> StoreCondition:
        """What is known about the server."""
        return StoreCondition(self.feed.skew, self.feed.unreadable, self._fault_of_writes, self.feed.fault)

    async def connect(self) -> None:
        await self._server.warm()
        probe = f"{self._revoked}:probe"
        refused = await self._server.run(self._probe({"key": probe}), again=True)
        if refused:
            names = ", ".join(sorted(name.decode() for name in refused))
            raise StoreUnavailable(f"{self._server.place}: the user may not run the commands that are needed: {names}")
        await self._warn()

    async def _warn(self) -> None:
        """Tell the operator once when this server may forget what it is told."""
        try:
            risks = risks_of_forgetting(await self._server.run(self._redis.info, again=True))
        except StoreUnavailable:
            return  # INFO may be forbidden; the next command shows any other fault
        said = f"{self._server.place}: {'; '.join(map(str, risks))}" if risks else ""
        if said and said != self._risk:
            self._emit(StoreNoted("store_may_forget", said))
        self._risk = said

    async def remember(self, revocations: Iterable[tuple[str, int]]) -> None:
        pairs = list(revocations)
        for start in range(0, len(pairs), _CHUNK):
            chunk = [part for entry, until in pairs[start : start + _CHUNK] for part in (_bytes_of(entry), until)]
            args = {"clock": self._clock(), "length": STREAM_LENGTH}
            await self._server.run(self._revoke(self.keys, args, more_args=chunk), again=True)

    async def missing(self, revocations: Revocations) -> Revocations:
        if not revocations:
            return []
        names = [_bytes_of(entry) for entry, _ in revocations]
        ask = partial(self._redis.execute_command, "ZMSCORE", self._revoked, *names)
        known = await self._server.run(ask, again=True)
        with _readable():
            return [each for each, until in zip(revocations, known, strict=True) if until is None or until < each[1]]

    async def heartbeat(self, last_read: bytes) -> Heartbeat:
        await self._server.check_place(self._interval)
        before = self._clock()
        milliseconds = int(self._interval * 1000)
        args: dict[str, Argument] = {
            "clock": before,
            "length": STREAM_LENGTH,
            "last_read": last_read,
            "interval": milliseconds,
        }
        command = self._run_heartbeat(self.keys, args)
        sent_at = self._monotonic()
        try:
            answer = await self._server.run(command, again=True)
        except StoreUnavailable as exc:
            if not _refuses_writes(exc.__cause__):
                self._emit(StoreUsed("heartbeat", self._monotonic() - sent_at, answered=False))
                raise
            self._note_writable(str(exc))
            return await self._heartbeat_by_reading(last_read)
        self._emit(StoreUsed("heartbeat", self._monotonic() - sent_at, answered=True))
        self._note_writable("")
        with _readable():
            present, newest, now, server, loss, why, quiet = answer
            skew = float(now) - self._between(before)
            return Heartbeat(
                bool(present),
                bytes(newest),
                name_of(server),
                skew,
                name_of(loss),
                counted=why == b"count",
                quiet=float(quiet),
            )

    async def _heartbeat_by_reading(self, last_read: bytes) -> Heartbeat:
        """The heartbeat for a server that takes no writes: it reads the newest existing entry. A replica's answer is as of
        its last contact with its primary. Raises `StoreUnavailable` for a replica that is cut off, since it may miss
        revocations."""
        before = self._clock()
        async with self._redis.pipeline(transaction=False) as pipe:
            ask: Pipeline = pipe
            ask.xrange(self._stream, last_read or b"-", last_read or b"+", count=1)
            ask.xrevrange(self._stream, count=1)
            ask.hmget(self._state, "open", "loss", "since", "sign")
            ask.time()
            ask.info("everything")
            answer = await self._server.run(ask.execute)
        with _readable():
            found, newest, (is_open, loss, *moments), (seconds, microseconds), info = answer
            now = seconds + microseconds / 1e6
            quiet = now - max(float(moment or 0) for moment in moments)
            number = name_of(loss or b"0") if is_open else ""
            return _seen(bool(found), newest, info)._replace(skew=now - self._between(before), loss=number, quiet=quiet)

    def _between(self, before: float) -> float:
        """This process's time halfway through a command that started at `before`."""
        return (before + self._clock()) / 2

    def _note_writable(self, fault: str) -> None:
        if fault != self._fault_of_writes:
            self._fault_of_writes = fault
            name: Literal["store_not_writable", "store_writable"] = "store_not_writable" if fault else "store_writable"
            self._emit(StoreNoted(name, fault or "the store takes writes again"))

    async def all_revocations(self) -> AsyncGenerator[Revocations, None]:
        """The server looks for the next page while the caller works on this one."""
        loop = asyncio.get_running_loop()
        scan = loop.create_task(self._scan(b"0"))
        try:
            cursor = b""
            while cursor != b"0":
                cursor, page = await scan
                if cursor != b"0":
                    scan = loop.create_task(self._scan(cursor))
                    await asyncio.sleep(0)  # so that the command is sent before the caller begins
                yield page
        finally:
            await end_tasks([scan])

    async def _scan(self, cursor: bytes) -> tuple[bytes, Revocations]:
        command = partial(self._redis.execute_command, "ZSCAN", self._revoked, cursor, "COUNT", _PAGE)
        answer = await self._server.run(command, again=True)
        with _readable():
            following, found = answer
            return b"%d" % int(following), [(name_of(jti), self.feed.end_of(until)) for jti, until in found]

    async def history(self, until: bytes) -> AsyncIterator[Entries]:
        start = b"-"
        while True:
            look = partial(self._redis.xrange, self._stream, start, until, count=_READ)
            found = await self._server.run(look, again=True)
            if not found:
                return
            yield found
            start = b"(" + found[-1][0]

    async def sign(self) -> None:
        await self._server.run(self._sign({"state": self._state}), again=True)

    async def make_whole(self, loss: str, window: float) -> bool | None:
        keys = {"revoked": self._revoked, "state": self._state}
        command = self._make_whole(keys, {"given_for": _bytes_of(loss), "window": window})
        answer = await self._server.run(command, again=True)
        return {1: True, 0: None}.get(answer, False)

    async def take_turn(self, seconds: float) -> bool:
        keys = {"turn": self._turn, "state": self._state}
        args: dict[str, Argument] = {"process": self._name, "milliseconds": max(1, int(seconds * 1000))}
        return bool(await self._server.run(self._take_turn(keys, args), again=True))

    async def end_turn(self) -> None:
        await self._server.run(self._end_turn({"turn": self._turn}, {"process": self._name}), again=True)

    async def entries(self, last_read: bytes) -> AsyncGenerator[Entries, None]:
        deadline = 2 * self._interval
        async with self._server.alone(deadline) as run:
            while True:
                asked = self._monotonic()
                answer = await run(partial(_next_entries, stream=self._stream, after=last_read, seconds=deadline))
                with _readable():
                    pages = [found for _, found in answer]
                    last_read = pages[-1][-1][0] if pages else last_read
                for page in pages:
                    yield page
                    if (
                        len(page) < _READ
                    ):  # a round trip for each of a thousand entries a second would cost more than they do
                        await asyncio.sleep(asked + _GATHERED - self._monotonic())


def _seen(present: bool, newest: Entries, info: dict[str, Any]) -> Heartbeat:  # noqa: FBT001  a field of the result
    age = 0.0
    if info.get("role") != "master":
        if info.get("master_link_status") != "up":
            raise StoreUnavailable("the server is a replica that is cut off from its primary")
        age = float(info["master_last_io_seconds_ago"]) + 1.0  # the server reports whole seconds
    if not newest:
        raise StoreUnavailable("the server holds no revocations, and takes no writes")
    return Heartbeat(present, newest[0][0], str(info.get("run_id", "")), age=age, writable=False)


@contextmanager
def _readable() -> Iterator[None]:
    """An answer of the server that cannot be read raises `StoreUnavailable`, and ends nothing else."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as exc:
        raise StoreUnavailable("the server's answer cannot be read") from exc


async def _next_entries(redis: Redis, *, stream: str, after: bytes, seconds: float) -> Any:
    return await redis.xread({stream: after}, count=_READ, block=int(seconds * 1000))


def _refuses_writes(fault: BaseException | None) -> bool:
    """Whether the server refuses writes for a reason that leaves its data readable and current. A server that lacks its
    replicas (NOREPLICAS) does not count: another one may have replaced it."""
    if isinstance(fault, (OutOfMemoryError, ReadOnlyError)):
        return True
    return isinstance(fault, ResponseError) and str(fault).startswith("MISCONF")


def _bytes_of(entry: str) -> bytes:
    """The inverse of `name_of`."""
    return entry.encode("utf-8", "surrogateescape")
