"""Commands to a Redis server: bounded in time, on connections that are alive, and with one fault for whatever goes wrong.

Rules:
- No command waits longer than the timeout. One whose connection is lost under it may have run, so it is sent a second time, on
  a new connection, only when that changes nothing; otherwise whoever asked is told at once.
- A new connection takes several round trips (TCP, TLS, AUTH, SELECT), and a script that the server does not know three, which
  a command has no time for when the server is far away. `warm` sees to both beforehand, and has more time.
- After a command that got no answer the idle connections are not used again: whatever swallowed one may swallow them all.
- A server that refuses the password gets the one that `renewed` gives then: it may have been changed in the file.
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

_AT_ONCE: Final = 32  # commands of this process in flight; more wait, within their timeout
_WARM: Final = 4  # connections
_ROUND_TRIPS: Final = 6  # of a new connection: TCP, TLS twice, AUTH, CLIENT SETNAME, SELECT


class _Credentials(CredentialProvider):
    """Name and password, as they are now; empty for none."""

    def __init__(self, url: str) -> None:
        self.use(url)

    def use(self, url: str) -> bool:
        """Take them from an address; whether they are others."""
        before = getattr(self, "_given", None)
        parts: Mapping[str, Any] = parse_url(url)
        given = (parts.get("username"), parts.get("password"))
        self._given = tuple(each for each in given if each) if given[1] else ()
        return self._given != before

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        return self._given  # redis-py sends none when it is empty

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


class Server:
    """A Redis server at `url`. `timeout` in seconds. `redis` is the client, for `register_script` and the like. `renewed` gives
    the address anew, when its password was refused. Raises `ValueError` for an address that cannot be read."""

    def __init__(self, url: str, *, timeout: float, renewed: Callable[[], str] | None = None) -> None:
        self._timeout = timeout
        self._renewed = renewed
        self._credentials = _Credentials(url)
        # Every command is bounded by `asyncio.timeout` here. With a `socket_timeout` redis-py would use `asyncio.wait_for`,
        # which in Python 3.11 loses a cancellation that comes as the command is sent.
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
        return "<Server>"  # its address may hold a password

    def script(self, script: Script) -> BoundScript:
        """The script as this server runs it: calling it gives a command for `run`."""
        bound = BoundScript(script, self.redis.register_script(script.text))
        self._scripts.append(bound)
        return bound

    async def warm(self) -> None:
        """See that there are some connections, and that the server knows the scripts: a command that has to bring its own takes
        three round trips. Raises `StoreUnavailable`."""
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
        """What a command of redis-py gives. `again`: to run it twice is to run it once, so it may be sent on a new connection
        when the first is lost under it. Raises `StoreUnavailable`."""
        async with translated(), asyncio.timeout(self._timeout), self._slots:
            try:
                return await command()
            except asyncio.CancelledError:
                self._pool.doubt()  # it had no answer in time
                raise
            except AuthenticationError:
                self._renew()  # for the next one who asks
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
        """A connection for one who waits for long: gives a function that runs a command on it, within `deadline` seconds beyond
        the timeout. Raises `StoreUnavailable`."""
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
        """Give back the connections. Idempotent."""
        await _close(self.redis)

    def _renew(self) -> None:
        if self._renewed is not None and self._credentials.use(self._renewed()):
            self._pool.doubt()


class _Pool(ConnectionPool):
    """Connections of which none is used that is known to be dead.

    redis-py looks for the end of a connection before it uses one, and not for a reset, which is how firewalls and balancers
    end what was idle for long: the command would fail with nothing of it sent.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._doubted: WeakSet[AbstractConnection] = WeakSet()

    async def taken(self) -> AbstractConnection:
        """A connection that is connected; `release` gives it back."""
        connection: AbstractConnection = await self.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
        return connection

    def doubt(self) -> None:
        """A connection was lost: those that are idle were as idle as that one, so each is replaced before its next use."""
        self._doubted.update(self._get_free_connections())

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Nothing yields to the loop between this and the writing of the command."""
        if connection in self._doubted or _dead(connection):
            self._doubted.discard(connection)
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002  redis-py's signature
        """Close every connection, whatever comes.

        redis-py starts a task per connection for that. A cancellation that comes before they run ends them unrun, and leaves
        open connections to the collector.
        """
        used = self._get_in_use_connections() if inuse_connections else ()
        connections = (*self._get_free_connections(), *used)
        try:
            await super().disconnect(inuse_connections)
        finally:
            for connection in connections:
                connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001  nothing can cancel it


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


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
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
