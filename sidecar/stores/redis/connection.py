"""Runs commands on a Redis server, within a time limit and on live connections; every failure becomes one exception.

Rules:
- No command waits longer than the timeout. A command whose connection was lost may have run. So it is resent on a new
  connection only if running it twice has no further effect; otherwise the caller gets the error at once.
- A new connection takes several round trips (TCP, TLS, AUTH, SELECT), and a script that the server does not know takes three.
  A command has no time for these when the server is far away. `warm` does both in advance, with a longer time limit.
- After a command that got no answer, the idle connections are not used again, because they may be broken in the same way.
- When the server refuses the password, `renewed` provides the current one, because the password file may have changed.
"""

import asyncio
import select
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from weakref import WeakSet

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
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

from sidecar.core.ports import StoreUnavailable
from sidecar.stores.redis.lua import BoundScript, Command, Script

_AT_ONCE: Final = 32  # concurrent commands of this process; further ones wait, within their timeout
_WARM: Final = 4  # connections
_ROUND_TRIPS: Final = 6  # to open a connection: TCP, TLS twice, AUTH, CLIENT SETNAME, SELECT


class _Credentials(CredentialProvider):
    """The current name and password; empty for none."""

    def __init__(self, url: str) -> None:
        self.use(url)

    def use(self, url: str) -> bool:
        """Take both from an address. Returns whether they have changed."""
        before = getattr(self, "_given", None)
        parts: Mapping[str, Any] = parse_url(url)
        given = (parts.get("username"), parts.get("password"))
        self._given = tuple(each for each in given if each) if given[1] else ()
        return self._given != before

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        return self._given  # if empty, redis-py sends no AUTH

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


class Server:
    """A Redis server at `url`. `timeout` is in seconds. `redis` is the client, for `register_script` and the like. `renewed`
    returns the current address after its password was refused. Raises `ValueError` for an address that cannot be parsed."""

    def __init__(self, url: str, *, timeout: float, renewed: Callable[[], str] | None = None) -> None:
        self._timeout = timeout
        self._renewed = renewed
        self._credentials = _Credentials(url)
        # `asyncio.timeout` limits every command here. With a `socket_timeout` redis-py would use `asyncio.wait_for`, which in
        # Python 3.11 loses a cancellation that arrives while the command is being sent.
        self._options: dict[str, Any] = {
            **{name: value for name, value in parse_url(url).items() if name not in ("username", "password")},
            "credential_provider": self._credentials,
            "socket_timeout": None,
            "socket_connect_timeout": _ROUND_TRIPS * timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": "auth-sidecar",
            "driver_info": None,
        }
        self._pool = _Pool(**self._options)
        self.redis: Redis = Redis.from_pool(self._pool)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._scripts: list[BoundScript] = []

    def __repr__(self) -> str:
        return "<Server>"  # the address may contain a password

    def script(self, script: Script) -> BoundScript:
        """Bind a script to this server; calling it returns a command for `run`."""
        bound = BoundScript(script, self.redis.register_script(script.text))
        self._scripts.append(bound)
        return bound

    async def warm(self) -> None:
        """Open some connections, and load the scripts into the server: a command that has to send its script takes three
        round trips. Raises `StoreUnavailable`."""
        async with translated(), asyncio.timeout(_ROUND_TRIPS * self._timeout):
            found: list[AbstractConnection] = []
            try:
                while len(found) < _WARM:
                    found.append(await self._pool.taken())
            except AuthenticationError:
                self._renew()
                raise
            finally:
                for connection in found:
                    await self._pool.release(connection)
            async with self.redis.pipeline(transaction=False) as pipe:
                for script in self._scripts:
                    pipe.script_load(script.text)
                await pipe.execute()

    async def run(self, command: Command, *, again: bool = False) -> Any:
        """The result of a redis-py command. `again`: the command is idempotent, so it may be resent on a new connection when
        the first one was lost. Raises `StoreUnavailable`."""
        async with translated(), asyncio.timeout(self._timeout), self._slots:
            try:
                return await command()
            except asyncio.CancelledError:
                self._pool.doubt()  # the command got no answer in time
                raise
            except AuthenticationError:
                self._renew()  # for the next command
                raise
            except Exception as exc:
                if not _lost(exc):
                    raise
                self._pool.doubt()
                if not again:
                    raise
            return await command()

    @asynccontextmanager
    async def alone(
        self, deadline: float
    ) -> AsyncIterator[Callable[[Callable[[Redis], Awaitable[Any]]], Awaitable[Any]]]:
        """A separate connection for long waits. Yields a function that runs a command on it, within `deadline` seconds in
        addition to the timeout. Raises `StoreUnavailable`."""
        pool = _Pool(**self._options)
        client: Redis = Redis.from_pool(pool)

        async def run(command: Callable[[Redis], Awaitable[Any]]) -> Any:
            async with translated(), asyncio.timeout(deadline + self._timeout):
                return await command(client)

        try:
            async with translated(), asyncio.timeout(_ROUND_TRIPS * self._timeout):
                await pool.release(await pool.taken())
            yield run
        finally:
            await _close(client)

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await _close(self.redis)

    def _renew(self) -> None:
        if self._renewed is not None and self._credentials.use(self._renewed()):
            self._pool.doubt()


class _Pool(ConnectionPool):
    """Never uses a connection that is known to be dead.

    Before it uses a connection, redis-py checks for an end of stream but not for a reset, which is how firewalls and load
    balancers end idle connections. The command would fail although nothing of it was sent.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._doubted: WeakSet[AbstractConnection] = WeakSet()

    async def taken(self) -> AbstractConnection:
        """An open connection; `release` returns it to the pool."""
        connection: AbstractConnection = await self.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
        return connection

    def doubt(self) -> None:
        """A connection was lost, so the other idle ones may be lost as well: each is replaced before its next use."""
        self._doubted.update(self._get_free_connections())

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Between this check and the writing of the command, nothing yields to the event loop."""
        if connection in self._doubted or _dead(connection):
            self._doubted.discard(connection)
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002  redis-py's signature
        """Close every connection, even when cancelled.

        redis-py starts a task per connection for that. A cancellation before these tasks run would end them unstarted, and
        leave open connections to the garbage collector.
        """
        used = self._get_in_use_connections() if inuse_connections else ()
        connections = (*self._get_free_connections(), *used)
        try:
            await super().disconnect(inuse_connections)
        finally:
            for connection in connections:
                connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001  synchronous, so it cannot be cancelled


_ENDED: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL | getattr(select, "POLLRDHUP", 0)


def _dead(connection: AbstractConnection) -> bool:
    """Whether the other side has closed a connection, even if the event loop has not noticed yet."""
    writer = connection._writer  # noqa: SLF001  redis-py offers no public access
    if writer is None:
        return False
    if writer.transport.is_closing():
        return True
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), _ENDED)
    return bool(poll.poll(0))


def _lost(exc: Exception) -> bool:
    """Whether an established connection was lost. uvloop reports this to later writers as a `RuntimeError`."""
    if isinstance(exc, RuntimeError):
        return True
    reset = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, type(None))
    return type(exc) is RedisConnectionError and isinstance(exc.__context__, reset)


async def _close(client: Redis) -> None:
    """Close a client and its connections. A connection that cannot be closed properly is already gone."""
    with suppress(Exception):
        await client.aclose()


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn any exception of redis-py into `StoreUnavailable`, which names the fault and shows no part of the address. Only
    calls of redis-py belong inside.

    Before redis-py uses a pooled connection, it checks whether the connection is readable, under `asyncio.timeout(0)`. It
    mistakes a cancellation at that moment for the timeout and loses it, so this function checks for a cancellation.
    """
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        yield
    except Exception as exc:  # the exceptions of a client library on a lost transport cannot be enumerated
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
    # redis-py raises its ConnectionError while it handles the socket's exception.
    for error in (exc, exc.__context__):
        for kind, text in _FAULTS.items():
            if isinstance(error, kind):
                return text
    known = isinstance(exc, (RedisError, OSError))
    return "no connection" if known else f"the connection failed ({type(exc).__name__})"
