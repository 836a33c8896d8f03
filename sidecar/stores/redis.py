"""State in Redis, shared by every worker of every replica.

Keys, all under the configured prefix (whose braces keep them in one slot of a cluster):

- `…:revoked`      a sorted set, `jti` by the second until which it is to be remembered: the state
- `…:cutoffs`      a hash: what is ended up to which second, for those who rotate (`core.revocations`)
- `…:revocations`  a stream of what was revoked, cut to about 10,000 entries: how workers hear of it (`stores.feed`)
- `…:state`        a hash about the set: how many it holds, and the mark of a loss (`stores.scripts`)
- `…:turn`         whose turn it is to give back what was lost
- `…:family:ID`    a family of refresh tokens, a hash; with `:live` its access tokens (`stores.scripts`)
- `…:unused:ID`    a sorted set: the families that a client gave itself and did not use
- `…:KIND:ID`      a value that ends by itself

One Lua script writes the first three, so that no worker can hear of what is not kept, or miss what is. No command waits
longer than the timeout or is tried twice: whoever asked is told at once.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from sidecar.core.events import Listener, StoreNoted
from sidecar.core.ports import StoreCondition, StoreUnavailable
from sidecar.core.refresh import MOST_UNUSED, Access, Ended, Family, FamilyState, Outcome, Rotated, Rotation
from sidecar.core.revocations import Cutoff, RevocationView, family_end
from sidecar.core.throttling import Budget, Spent
from sidecar.stores import scripts
from sidecar.stores.feed import Beat, Entries, RevocationFeed, name_of

STREAM_LENGTH: Final = 10_000
_AT_ONCE: Final = 32  # commands of this process in flight; more wait, within their timeout
_CHUNK: Final = 500


class RedisStore:
    """A `Store` in Redis. Times in seconds; `interval` is that of the heartbeat."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        timeout: float,
        interval: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        emit: Listener,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._interval = interval
        self._clock = clock
        self._prefix = prefix
        self._revoked = f"{prefix}:revoked"
        self._stream = f"{prefix}:revocations"
        self._redis = self._connect(alone=False)
        self._state = f"{prefix}:state"
        self._turn = f"{prefix}:turn"
        self._name = f"{jitter():.17f}".encode()  # of this process, when it takes its turn
        self._revocation_keys = [self._revoked, self._stream, f"{prefix}:cutoffs", self._state]
        self._revoke = self._redis.register_script(scripts.REVOKE)
        self._beat = self._redis.register_script(scripts.BEAT)
        self._mark_lost = self._redis.register_script(scripts.MARK_LOST)
        self._make_whole = self._redis.register_script(scripts.MAKE_WHOLE)
        self._open_family = self._redis.register_script(scripts.OPEN_FAMILY)
        self._rotate = self._redis.register_script(scripts.ROTATE)
        self._spend = self._redis.register_script(scripts.SPEND)
        self._end_family = self._redis.register_script(scripts.END_FAMILY)
        self._forget_unused = self._redis.register_script(scripts.FORGET_UNUSED)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._view: RevocationView | None = None
        self._emit = emit
        self._fault_of_writes = ""  # why nothing can be written, although it can be read
        self._feed = RevocationFeed(self, interval=interval, clock=clock, monotonic=monotonic, emit=emit, jitter=jitter)

    def __repr__(self) -> str:
        return f"<RedisStore {self._feed}>"

    def _connect(self, *, alone: bool) -> Redis:
        """A client that connects when it is used; `alone`: with one connection and no pool. Raises `ValueError` for an
        address that cannot be read.

        Every command is bounded by `asyncio.timeout` here. With a `socket_timeout` redis-py would use `asyncio.wait_for`,
        which in Python 3.11 loses a cancellation that comes as the command is sent.
        """
        client: Redis = Redis.from_url(
            self._url,
            single_connection_client=alone,
            socket_timeout=None,
            socket_connect_timeout=self._timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            client_name="auth-sidecar",
        )
        return client

    # What `core.ports.RevocationStore` asks for.

    async def revoke(self, jti: str, exp: int) -> None:
        await self.remember([(jti, exp)])
        self._note([(jti, exp)])

    async def cut_off(self, cutoff: Cutoff, until: int) -> None:
        await self.revoke(cutoff.entry, until)

    def _note(self, revocations: list[tuple[str, int]]) -> None:
        """What was written just now, before the feed says it."""
        self._feed.wrote(revocations)
        if self._view is not None:
            self._view.add(revocations)

    async def follow(self, view: RevocationView) -> None:
        self._view = view
        await self._feed.follow(view)

    def condition(self) -> StoreCondition:
        return StoreCondition(self._feed.skew, self._feed.unreadable, self._fault_of_writes)

    async def ping(self) -> None:
        async with self._command():
            await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()

    # What `core.ports.Store` asks for.

    async def once(self, key: str, seconds: int) -> bool:
        async with self._command():
            return bool(await self._redis.set(self._key(key), b"1", ex=seconds, nx=True))

    async def put(self, key: str, value: str, seconds: int) -> None:
        async with self._command():
            await self._redis.set(self._key(key), value.encode(), ex=seconds)

    async def get(self, key: str) -> str | None:
        async with self._command():
            value: Any = await self._redis.get(self._key(key))
        return None if value is None else str(value, "utf-8")

    async def take(self, key: str) -> str | None:
        async with self._command():
            value: Any = await self._redis.getdel(self._key(key))
        return None if value is None else str(value, "utf-8")

    async def delete(self, key: str) -> None:
        async with self._command():
            await self._redis.delete(self._key(key))

    def _key(self, key: str) -> str:
        return f"{self._prefix}:{key}"

    async def open_family(self, key: str, family: Family, current: str, access: Access, idle: int) -> bool:
        said: list[str | int | float] = [
            family.client_id,
            family.subject,
            ",".join(family.roles),
            " ".join(family.scope),
            family.issued,
            family.ends,
            family.ends - self._clock(),
            idle,
            current,
            *access,
            MOST_UNUSED if family.own and current else 0,
        ]
        known = self._cut_off(family)
        async with self._command():
            opened, *unused = await self._open_family(
                keys=self._family_keys(key, family.client_id), args=[*self._beginning(key, ended=known), *said]
            )
        if unused:
            with suppress(StoreUnavailable):  # they end by themselves, in a while
                await self._forget(unused)
        return bool(opened)

    async def _forget(self, families: list[bytes]) -> None:
        async with self._command():
            await self._forget_unused(keys=[name for each in families for name in (each, each + b":live")])

    async def rotate(self, key: str, asked: Rotation) -> Rotated:
        said: list[str | int | float] = [
            asked.client_id,
            asked.presented,
            asked.successor,
            int(asked.repeats),
            asked.idle,
            *asked.access,
            *asked.scope,
        ]
        async with self._command():
            word, rest = await self._rotate(
                keys=self._family_keys(key, asked.client_id), args=[*self._beginning(key), *said]
            )
        outcome = Outcome(word.decode())
        if outcome not in (Outcome.ROTATED, Outcome.REPEATED):
            return Rotated(outcome, revoked=self._ended(rest))
        subject, roles, scope, issued, ends, current = [value.decode() for value in rest]
        family = _family(asked.client_id, subject, roles, scope, issued, ends)
        if self._cut_off(family):  # the server does not know it, or not any more
            return Rotated(Outcome.ENDED, revoked=(await self.end_family(key)).revoked)
        return Rotated(outcome, family, current)

    async def end_family(self, key: str, client_id: str | None = None, *, forbid: int = 0) -> Ended:
        async with self._command():
            word, revoked = await self._end_family(
                keys=self._family_keys(key, client_id or ""), args=[*self._beginning(key), client_id or "", forbid]
            )
        return Ended(Outcome(word.decode()), self._ended(revoked))

    async def read_family(self, key: str) -> FamilyState | None:
        fields = ("client", "subject", "roles", "scope", "issued", "ends", "idle_end", "current", "previous", "rotated",
                  "ended")  # fmt: skip
        async with self._command(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self._family_keys(key, "")[0], fields)
            pipe.time()
            answer, (seconds, microseconds) = await pipe.execute()
        ahead = seconds + microseconds / 1e6 - self._clock()
        said = {name: value.decode() if value is not None else "" for name, value in zip(fields, answer, strict=True)}
        if not said["client"]:
            return None
        return FamilyState(
            _family(*(said[name] for name in ("client", "subject", "roles", "scope", "issued", "ends"))),
            said["current"],
            float(said["idle_end"]) - ahead,
            said["previous"],
            float(said["rotated"]) - ahead if said["rotated"] else 0.0,
            bool(said["ended"]),
        )

    async def spend(self, budgets: Sequence[Budget]) -> list[Spent]:
        rates = [value for _, rate in budgets for value in (rate.seconds, rate.interval)]
        async with self._command():
            said = await self._spend(keys=[self._key(key) for key, _ in budgets], args=rates)
        return [Spent(bool(taken), float(wait), bool(fresh)) for taken, wait, fresh in said]

    def _family_keys(self, key: str, client_id: str) -> list[str]:
        family = self._key(f"family:{key}")
        return [family, f"{family}:live", *self._revocation_keys, self._key(f"unused:{client_id}")]

    def _beginning(self, key: str, *, ended: bool = False) -> list[str | int | float]:
        """What each script about a family is told first. This process may remember an end that the server lost."""
        entry = family_end(key)
        known = ended or (self._view is not None and entry in self._view)
        return [self._clock(), STREAM_LENGTH, entry, int(known)]

    def _cut_off(self, family: Family) -> bool:
        """Whether this process knows a cutoff that ended the family."""
        return self._view is not None and self._view.cut_off(family.client_id, family.subject, family.issued)

    def _ended(self, revoked: list[bytes]) -> tuple[str, ...]:
        """The ids of the access tokens that a script revoked: it gives pairs of entry and end."""
        entries = [name_of(entry) for entry in revoked[::2]]
        self._note(list(zip(entries, map(self._feed.end_of, revoked[1::2]), strict=True)))
        return tuple(entry for entry in entries if not entry.startswith(" "))

    # What the feed asks for.

    async def remember(self, revocations: Iterable[tuple[str, int]]) -> None:
        """Write revocations. Raises `StoreUnavailable`; some may have been written then."""
        pairs = list(revocations)
        for start in range(0, len(pairs), _CHUNK):
            chunk = [value for entry, until in pairs[start : start + _CHUNK] for value in (_bytes_of(entry), until)]
            async with self._command():
                await self._revoke(keys=self._revocation_keys, args=[self._clock(), STREAM_LENGTH, *chunk])

    async def missing(self, revocations: list[tuple[str, int]]) -> list[tuple[str, int]]:
        names = [_bytes_of(entry) for entry, _ in revocations]
        async with self._command():
            known: Any = await self._redis.zmscore(self._revoked, names) if names else []
        return [each for each, until in zip(revocations, known, strict=True) if until is None or until < each[1]]

    async def beat(self, last_read: bytes) -> Beat:
        before = self._clock()
        try:
            async with self._command():
                present, newest, lost, now, server = await self._beat(
                    keys=self._revocation_keys,
                    args=[self._clock(), STREAM_LENGTH, last_read, int(self._interval * 1000)],
                )
        except StoreUnavailable as exc:
            if not _refuses_writes(exc.__cause__):
                raise
            self._note_writable(str(exc))
            return await self._beat_by_reading(last_read)
        self._note_writable("")
        return Beat(bool(present), newest, lost.decode(), server.decode(), float(now) - self._between(before))

    async def _beat_by_reading(self, last_read: bytes) -> Beat:
        """What a server that takes no writes can show: the newest entry that there is. A replica shows it as of the last time it
        heard of its primary. Raises `StoreUnavailable` for one that is cut off, since it may miss what is revoked elsewhere."""
        before = self._clock()
        async with self._command(), self._redis.pipeline(transaction=False) as pipe:
            pipe.xrange(self._stream, last_read or b"-", last_read or b"+", count=1)
            pipe.xrevrange(self._stream, count=1)
            pipe.hget(self._state, "lost")
            pipe.time()
            pipe.info("everything")
            found, newest, lost, (seconds, microseconds), info = await pipe.execute()
        age = 0.0
        if info.get("role") != "master":
            if info.get("master_link_status") != "up":
                raise StoreUnavailable("the server is a replica that is cut off from its primary")
            age = float(info["master_last_io_seconds_ago"])
        if not newest:
            raise StoreUnavailable("the server holds no revocations, and takes no writes")
        skew = seconds + microseconds / 1e6 - self._between(before)
        return Beat(bool(found), newest[0][0], (lost or b"").decode(), info.get("run_id", ""), skew, age, writable=False)

    def _between(self, before: float) -> float:
        """Our time in the middle of a command that was begun at `before`."""
        return (before + self._clock()) / 2

    def _note_writable(self, fault: str) -> None:
        if fault != self._fault_of_writes:
            self._fault_of_writes = fault
            name: Literal["store_not_writable", "store_writable"] = "store_not_writable" if fault else "store_writable"
            self._emit(StoreNoted(name, fault or "the store takes writes again"))

    async def everything(self) -> AsyncIterator[list[tuple[str, int]]]:
        cursor = 0
        while True:
            async with self._command():
                answer: Any = await self._redis.execute_command("ZSCAN", self._revoked, cursor, "COUNT", _CHUNK)
            cursor, found = answer
            yield [(name_of(jti), self._feed.end_of(until)) for jti, until in found]
            if int(cursor) == 0:
                return

    async def history(self, until: bytes) -> AsyncIterator[Entries]:
        start = b"-"
        while True:
            async with self._command():
                found: Any = await self._redis.xrange(self._stream, start, until, count=1000)
            if not found:
                return
            yield found
            start = b"(" + found[-1][0]

    async def mark_lost(self) -> str:
        async with self._command():
            mark: Any = await self._mark_lost(keys=[self._state], args=[self._name])
        return str(mark, "utf-8", "replace")

    async def make_whole(self, mark: str) -> None:
        async with self._command():
            await self._make_whole(keys=[self._revoked, self._state], args=[mark])

    async def take_turn(self, seconds: float) -> bool:
        milliseconds = max(1, int(seconds * 1000))
        async with self._command():
            mine = await self._redis.set(self._turn, self._name, px=milliseconds, nx=True)
            if mine:
                return True
            if await self._redis.get(self._turn) != self._name:
                return False
            return bool(await self._redis.pexpire(self._turn, milliseconds))

    async def end_turn(self) -> None:
        async with self._command():
            if await self._redis.get(self._turn) == self._name:
                await self._redis.delete(self._turn)

    async def entries(self, last_read: bytes) -> AsyncGenerator[list[tuple[bytes, dict[bytes, bytes]]], None]:
        """The stream's entries after `last_read`, as they come, on a connection of its own; ends only by raising
        `StoreUnavailable`."""
        deadline = 2 * self._interval
        client = self._connect(alone=True)
        try:
            while True:
                async with _translated(), asyncio.timeout(deadline + self._timeout):
                    answer: Any = await client.xread({self._stream: last_read}, count=1000, block=int(deadline * 1000))
                for _, found in answer:
                    yield found
                    last_read = found[-1][0]
        finally:
            await client.aclose()

    @asynccontextmanager
    async def _command(self) -> AsyncIterator[None]:
        async with _translated(), asyncio.timeout(self._timeout), self._slots:
            yield


def _bytes_of(entry: str) -> bytes:
    """What `name_of` read."""
    return entry.encode("utf-8", "surrogateescape")


def _family(client_id: str, subject: str, roles: str, scope: str, issued: str, ends: str) -> Family:
    return Family(
        client_id, subject, tuple(filter(None, roles.split(","))), tuple(scope.split()), int(issued), int(ends)
    )


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Turn what redis-py raises into `StoreUnavailable`, which names the fault without showing any part of the address.

    Before it uses a pooled connection, redis-py looks whether it is readable, under `asyncio.timeout(0)`. A cancellation
    that comes at that very moment is taken for that timeout and lost, so it is looked for here.
    """
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise StoreUnavailable(_describe(exc)) from exc
    finally:
        if task is not None and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError


def _refuses_writes(fault: BaseException | None) -> bool:
    """Whether a server said that it takes no writes, for a reason that leaves what it says to readers as good as it was. One that
    lacks its replicas (NOREPLICAS) may have been replaced by another."""
    if isinstance(fault, (OutOfMemoryError, ReadOnlyError)):
        return True
    return isinstance(fault, ResponseError) and str(fault).startswith("MISCONF")


_FAULTS: Final[dict[type[BaseException], str]] = {
    AuthenticationError: "the server refuses the name or password",
    NoPermissionError: "the user may not run the commands that are needed",
    ReadOnlyError: "the server is a read-only replica",
    OutOfMemoryError: "the server is out of memory",
    BusyLoadingError: "the server is loading its data",
    ssl.SSLCertVerificationError: "the server's certificate is not trusted",
    RedisTimeoutError: "no answer in time",
    TimeoutError: "no answer in time",
    ResponseError: "the server refuses the command",
}


def _describe(exc: BaseException) -> str:
    # redis-py raises its ConnectionError while it handles what the socket raised.
    for error in (exc, exc.__context__):
        for kind, text in _FAULTS.items():
            if isinstance(error, kind):
                return text
    return "no connection"
