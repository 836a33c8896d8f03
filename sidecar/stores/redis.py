"""State in Redis, shared by every worker of every replica.

Keys, all under the configured prefix (whose braces keep them in one slot of a cluster):

- `…:revoked`      a sorted set, `jti` by the second until which it is to be remembered: the state
- `…:cutoffs`      a hash: what is ended up to which second, for those who rotate (`core.revocations`)
- `…:revocations`  a stream of what was revoked, cut to about 10,000 entries: how workers hear of it (`stores.feed`)
- `…:family:ID`    a family of refresh tokens, a hash; with `:live` its access tokens (`stores.scripts`)
- `…:KIND:ID`      a value that ends by itself

One Lua script writes the first three, so that no worker can hear of what is not kept, or miss what is. No command waits
longer than the timeout. One whose connection is lost under it may have run, so it is sent a second time, on a new connection,
only when that changes nothing; otherwise whoever asked is told at once.
"""

import asyncio
import random
import select
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, NamedTuple
from weakref import WeakSet

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
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
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from sidecar.core.events import Listener
from sidecar.core.ports import StoreUnavailable
from sidecar.core.refresh import Access, Ended, Family, FamilyState, Outcome, Rotated, Rotation
from sidecar.core.revocations import Cutoff, RevocationView
from sidecar.core.throttling import Budget, Spent
from sidecar.stores import scripts
from sidecar.stores.feed import RevocationFeed

STREAM_LENGTH: Final = 10_000
_AT_ONCE: Final = 32  # commands of this process in flight; more wait, within their timeout
_CHUNK: Final = 500
_FOR_GOOD: Final = 2**53  # seconds: a score may be infinite


class Beat(NamedTuple):
    """The answer to a heartbeat: is the entry asked for still in the stream, and which entry is the newest."""

    present: bool
    newest: bytes


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
        self._pool = _Pool.from_url(url, **self._options())
        self._redis = Redis.from_pool(self._pool)
        self._revocation_keys = [self._revoked, self._stream, f"{prefix}:cutoffs"]
        self._revoke = self._redis.register_script(scripts.REVOKE)
        self._beat = self._redis.register_script(scripts.BEAT)
        self._open_family = self._redis.register_script(scripts.OPEN_FAMILY)
        self._rotate = self._redis.register_script(scripts.ROTATE)
        self._spend = self._redis.register_script(scripts.SPEND)
        self._end_family = self._redis.register_script(scripts.END_FAMILY)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._view: RevocationView | None = None
        self._feed = RevocationFeed(self, interval=interval, clock=clock, monotonic=monotonic, emit=emit, jitter=jitter)

    def __repr__(self) -> str:
        return f"<RedisStore {self._feed}>"

    def _options(self) -> dict[str, Any]:
        """How to connect. Every command is bounded by `asyncio.timeout` here. With a `socket_timeout` redis-py would use
        `asyncio.wait_for`, which in Python 3.11 loses a cancellation that comes as the command is sent.
        """
        return {
            "socket_timeout": None,
            "socket_connect_timeout": self._timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": "auth-sidecar",
        }

    # What `core.ports.RevocationStore` asks for.

    async def revoke(self, jti: str, exp: int) -> None:
        await self.remember([(jti, exp)])
        self._note([(jti, exp)])

    async def cut_off(self, cutoff: Cutoff, until: int) -> None:
        await self.revoke(cutoff.entry, until)

    def _note(self, revocations: list[tuple[str, int]]) -> None:
        """What was written just now, before the feed says it."""
        if self._view is not None:
            self._view.add(revocations)

    async def follow(self, view: RevocationView) -> None:
        self._view = view
        await self._feed.follow(view)

    async def ping(self) -> None:
        await self._run(self._redis.ping, again=True)

    async def close(self) -> None:
        await _close(self._redis)

    # What `core.ports.Store` asks for.

    async def once(self, key: str, seconds: int) -> bool:
        return bool(await self._run(lambda: self._redis.set(self._key(key), b"1", ex=seconds, nx=True)))

    async def put(self, key: str, value: str, seconds: int) -> None:
        encoded = value.encode()
        await self._run(lambda: self._redis.set(self._key(key), encoded, ex=seconds))

    async def get(self, key: str) -> str | None:
        value = await self._run(lambda: self._redis.get(self._key(key)), again=True)
        return None if value is None else str(value, "utf-8")

    async def take(self, key: str) -> str | None:
        value = await self._run(lambda: self._redis.getdel(self._key(key)))
        return None if value is None else str(value, "utf-8")

    async def delete(self, key: str) -> None:
        await self._run(lambda: self._redis.delete(self._key(key)), again=True)

    def _key(self, key: str) -> str:
        return f"{self._prefix}:{key}"

    async def open_family(self, key: str, family: Family, current: str, access: Access, idle: int) -> bool:
        said: list[str | int] = [
            family.client_id,
            family.subject,
            ",".join(family.roles),
            " ".join(family.scope),
            family.issued,
            family.ends,
        ]
        args = [STREAM_LENGTH, *said, idle, current, *access]
        return bool(await self._run(lambda: self._open_family(keys=self._family_keys(key), args=args)))

    async def rotate(self, key: str, asked: Rotation) -> Rotated:
        args: list[str | int | float] = [
            STREAM_LENGTH,
            asked.client_id,
            asked.presented,
            asked.successor,
            asked.grace,
            asked.idle,
            *asked.access,
            *asked.scope,
        ]
        word, rest = await self._run(lambda: self._rotate(keys=self._family_keys(key), args=args))
        outcome = Outcome(word.decode())
        if outcome not in (Outcome.ROTATED, Outcome.REPEATED):
            return Rotated(outcome, revoked=self._ended(rest))
        subject, roles, scope, issued, ends, current = [value.decode() for value in rest]
        return Rotated(outcome, _family(asked.client_id, subject, roles, scope, issued, ends), current)

    async def end_family(self, key: str, client_id: str | None = None, *, forbid: int = 0) -> Ended:
        args: list[str | int] = [STREAM_LENGTH, client_id or "", forbid]
        word, revoked = await self._run(lambda: self._end_family(keys=self._family_keys(key), args=args))
        return Ended(Outcome(word.decode()), self._ended(revoked))

    async def read_family(self, key: str) -> FamilyState | None:
        fields = ("client", "subject", "roles", "scope", "issued", "ends", "idle_end", "current", "previous", "rotated",
                  "repeated", "ended")  # fmt: skip
        answer = await self._run(lambda: self._redis.hmget(self._family_keys(key)[0], fields), again=True)
        said = {name: value.decode() if value is not None else "" for name, value in zip(fields, answer, strict=True)}
        if not said["client"]:
            return None
        return FamilyState(
            _family(*(said[name] for name in ("client", "subject", "roles", "scope", "issued", "ends"))),
            said["current"],
            float(said["idle_end"]),
            said["previous"],
            float(said["rotated"] or 0),
            bool(said["repeated"]),
            bool(said["ended"]),
        )

    async def spend(self, budgets: Sequence[Budget]) -> list[Spent]:
        rates = [value for _, rate in budgets for value in (rate.seconds, rate.interval)]
        keys = [self._key(key) for key, _ in budgets]
        said = await self._run(lambda: self._spend(keys=keys, args=rates))
        return [Spent(bool(taken), float(wait), bool(fresh)) for taken, wait, fresh in said]

    def _family_keys(self, key: str) -> list[str]:
        family = self._key(f"family:{key}")
        return [family, f"{family}:live", *self._revocation_keys]

    def _ended(self, revoked: list[bytes]) -> tuple[str, ...]:
        """The ids of what a script revoked: pairs of id and end."""
        ids = [jti.decode() for jti in revoked[::2]]
        self._note(list(zip(ids, map(int, revoked[1::2]), strict=True)))
        return tuple(ids)

    # What the feed asks for.

    async def remember(self, revocations: Iterable[tuple[str, int]]) -> None:
        """Write revocations. Raises `StoreUnavailable`; some may have been written then."""
        pairs = list(revocations)
        for start in range(0, len(pairs), _CHUNK):
            args: list[str | int] = [int(self._clock()), STREAM_LENGTH]
            args += [value for pair in pairs[start : start + _CHUNK] for value in pair]
            await self._run(partial(self._revoke, keys=self._revocation_keys, args=args), again=True)

    async def beat(self, last_read: bytes) -> Beat:
        """Ask for continuity. Raises `StoreUnavailable`."""
        args: list[bytes | int] = [last_read, int(self._interval * 1000), STREAM_LENGTH]
        present, newest = await self._run(lambda: self._beat(keys=[self._stream], args=args), again=True)
        return Beat(bool(present), newest)

    async def everything(self) -> AsyncIterator[list[tuple[str, int]]]:
        """All revocations, some at a time: what is there throughout is given. Raises `StoreUnavailable`."""
        cursor = 0
        while True:
            scan = partial(self._redis.zscan, self._revoked, cursor, count=_CHUNK)
            cursor, found = await self._run(scan, again=True)
            yield [(jti.decode("utf-8", "replace"), int(min(max(until, 0), _FOR_GOOD))) for jti, until in found]
            if cursor == 0:
                return

    async def entries(self, last_read: bytes) -> AsyncGenerator[list[tuple[bytes, dict[bytes, bytes]]], None]:
        """The stream's entries after `last_read`, as they come, on a connection of its own; ends only by raising
        `StoreUnavailable`."""
        deadline = 2 * self._interval
        client: Redis = Redis.from_url(self._url, single_connection_client=True, **self._options())
        try:
            while True:
                async with _translated(), asyncio.timeout(deadline + self._timeout):
                    answer: Any = await client.xread({self._stream: last_read}, count=1000, block=int(deadline * 1000))
                for _, found in answer:
                    yield found
                    last_read = found[-1][0]
        finally:
            await _close(client)

    async def _run(self, command: Callable[[], Awaitable[Any]], *, again: bool = False) -> Any:
        """What a command of redis-py gives. `again`: to run it twice is to run it once, so it may be sent on a new connection
        when the first is lost under it. Raises `StoreUnavailable`."""
        async with _translated(), asyncio.timeout(self._timeout), self._slots:
            try:
                return await command()
            except Exception as exc:
                if not _lost(exc):
                    raise
                self._pool.doubt()
                if not again:
                    raise
            return await command()


class _Pool(ConnectionPool):
    """Connections of which none is used that is known to be dead.

    redis-py looks for the end of a connection before it uses one, and not for a reset, which is how firewalls and balancers
    end what was idle for long: the command would fail with nothing of it sent.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._doubted: WeakSet[AbstractConnection] = WeakSet()

    def doubt(self) -> None:
        """A connection was lost: those that are idle were as idle as that one, so each is replaced before its next use."""
        self._doubted.update(self._get_free_connections())

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Nothing yields to the loop between this and the writing of the command."""
        if connection in self._doubted or _dead(connection):
            self._doubted.discard(connection)
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


_ENDED: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL | getattr(select, "POLLRDHUP", 0)


def _dead(connection: AbstractConnection) -> bool:
    """Whether the other side has ended a connection, also when the loop has not heard of it yet."""
    writer = connection._writer  # noqa: SLF001  redis-py has no public way to it
    if writer is None:
        return False
    if writer.transport.is_closing():
        return True
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), _ENDED)
    return bool(poll.poll(0))


def _lost(exc: Exception) -> bool:
    """Whether a connection that there was has ended. uvloop says so by a `RuntimeError` to whoever writes afterwards."""
    if isinstance(exc, RuntimeError):
        return True
    reset = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, type(None))
    return type(exc) is RedisConnectionError and isinstance(exc.__context__, reset)


async def _close(client: Redis) -> None:
    """Close a client and its connections. What cannot be closed in good order is gone already."""
    with suppress(Exception):
        await client.aclose()


def _family(client_id: str, subject: str, roles: str, scope: str, issued: str, ends: str) -> Family:
    return Family(
        client_id, subject, tuple(filter(None, roles.split(","))), tuple(scope.split()), int(issued), int(ends)
    )


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Turn whatever redis-py raises into `StoreUnavailable`, which names the fault without showing any part of the address:
    nothing but its calls belongs in here.

    Before it uses a pooled connection, redis-py looks whether it is readable, under `asyncio.timeout(0)`. A cancellation
    that comes at that very moment is taken for that timeout and lost, so it is looked for here.
    """
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        yield
    except Exception as exc:  # nobody can list what a client library raises on a transport that is gone
        raise StoreUnavailable(_describe(exc)) from exc
    finally:
        if task is not None and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError


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
    known = isinstance(exc, (RedisError, OSError))
    return "no connection" if known else f"the connection failed ({type(exc).__name__})"
