"""Runs commands on a Redis server, within a time limit and on live connections; every failure becomes one exception.

Rules:
- No command waits longer than the timeout. A command whose connection was lost may have run. So it is resent on a new
  connection only if running it twice has no further effect; otherwise the caller gets the error at once.
- A new connection takes several round trips (TCP, TLS, AUTH, SELECT), and a script that the server does not know takes three.
  A command has no time for these when the server is far away. `warm` does both in advance, with a longer time limit.
- After a command that got no answer, the idle connections are not used again, because they may be broken in the same way.
- Where the server may change (Sentinel, Cluster), each new connection asks a `Route` for it. A server that answers that it is
  the wrong one has done nothing, so the command is sent once more, to the right one.
- When the server refuses the password, `renewed` provides the current one, because the password file may have changed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from sidecar.core.ports import StoreUnavailable
from sidecar.core.store_address import Host, StoreAddress, Topology, read_store_address
from sidecar.stores.redis.faults import lost, translated
from sidecar.stores.redis.lua import BoundScript, Command, Script
from sidecar.stores.redis.pool import Pool, certificate_of, connection_options
from sidecar.stores.redis.route import ROUND_TRIPS, FixedRoute, FollowedRoute, Route

_AT_ONCE: Final = 32  # concurrent commands of this process; further ones wait, within their timeout
_PER_WARM: Final = 8  # concurrent commands for each connection that is opened in advance


class _Credentials(CredentialProvider):
    """The current name and password; empty for none."""

    def __init__(self, address: StoreAddress) -> None:
        self._given = _given(address)

    def use(self, address: StoreAddress) -> bool:
        """Take both from an address. Returns whether they have changed."""
        before, self._given = self._given, _given(address)
        return self._given != before

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        return self._given  # type: ignore[return-value]  # if empty, redis-py sends no AUTH

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def _given(address: StoreAddress) -> tuple[str, ...]:
    if not address.password:
        return ()
    return (address.username, address.password) if address.username else (address.password,)


class Server:
    """A Redis server at `url`, which is the address of one server (`core.store_address`). With a `route`, the server is the one
    that it finds, and `url` gives the rest. `timeout` is in seconds; `at_once` commands run concurrently, further ones wait
    within their timeout. `redis` is the client, for `register_script` and the like. `renewed` returns the current address after
    its password was refused. Raises `ValueError` for an address that cannot be parsed."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        renewed: Callable[[], str] | None = None,
        route: Route | None = None,
        at_once: int = _AT_ONCE,
    ) -> None:
        address = read_store_address(url)
        self._timeout = timeout
        self._renewed = renewed
        self._credentials = _Credentials(address)
        self._options = {**connection_options(address, timeout), "credential_provider": self._credentials}
        self._route: FollowedRoute | None = None
        if address.topology is not Topology.SOCKET:
            first = address.hosts[0]
            self._route = FollowedRoute(route or FixedRoute(first), first)
            self._options |= {"route": self._route, "timeout": timeout}
        self._path = address.path
        self._pool = Pool(**self._options)
        self.redis: Redis = Redis.from_pool(self._pool)
        self._warm = max(1, at_once // _PER_WARM)
        self._slots = asyncio.Semaphore(at_once)
        self._scripts: list[BoundScript] = []
        self._condition: Command | None = None
        self._fulfilled = False

    def __repr__(self) -> str:
        return "<Server>"  # the address may contain a password

    def script(self, script: Script) -> BoundScript:
        """Bind a script to this server; calling it returns a command for `run`."""
        bound = BoundScript(script, self.redis.register_script(script.text))
        self._scripts.append(bound)
        return bound

    def require(self, condition: Command) -> None:
        """`condition` has to succeed before any other command of this process, and again whenever `warm` is called."""
        self._condition = condition

    @property
    def place(self) -> str:
        """Host and port of the server, as it was found last, or the path of its socket."""
        return str(self._route or self._path)

    async def ask(self, *words: str) -> Any:
        """Run one command that changes nothing, and return the answer as Redis gives it. Raises `StoreUnavailable`."""
        return await self.run(partial(self.redis.execute_command, *words), again=True)

    async def certificate(self) -> bytes:
        """The server's certificate in DER form, empty without TLS. Raises `StoreUnavailable`."""
        async with translated(self._where), asyncio.timeout(self._timeout):
            connection = await self._pool.taken()
            try:
                return certificate_of(connection)
            finally:
                await self._pool.release(connection)

    async def check_place(self, within: float) -> None:
        """Ask whether the server is still the right one, unless it would say so itself. If another one is, that one is used
        from now on, and this raises `StoreUnavailable`. When nobody answers `within` so many seconds, nothing changes."""
        if self._route is None or not self._route.checks_role:
            return
        before = self.place
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(within):
                await self._route.find()
        if self.place != before:
            raise StoreUnavailable(f"{self.place} has become the primary in the place of {before}")

    async def warm(self) -> None:
        """Open some connections, and load the scripts into the server: a command that has to send its script takes three
        round trips. Raises `StoreUnavailable`."""
        async with translated(self._where), asyncio.timeout(ROUND_TRIPS * self._timeout):
            found: list[AbstractConnection] = []
            try:
                while len(found) < self._warm:
                    found.append(await self._pool.taken())
            except AuthenticationError:
                self._renew()
                raise
            finally:
                for connection in found:
                    await self._pool.release(connection)
            try:
                async with self.redis.pipeline(transaction=False) as pipe:
                    for script in self._scripts:
                        pipe.script_load(script.text)
                    await pipe.execute()
                self._fulfilled = False
                await self._fulfil()
            except ResponseError as exc:
                self._misled(exc, self._pool)
                raise

    async def run(self, command: Command, *, again: bool = False) -> Any:
        """The result of a redis-py command. `again`: the command is idempotent, so it may be resent on a new connection when
        the first one was lost. Raises `StoreUnavailable`."""
        async with translated(self._where), asyncio.timeout(self._timeout), self._slots:
            try:
                return await self._attempt(command)
            except asyncio.CancelledError:
                self._lose()  # the command got no answer in time
                raise
            except AuthenticationError:
                self._renew()  # for the next command
                raise
            except Exception as exc:
                if not self._misled(exc, self._pool):
                    if not lost(exc):
                        raise
                    self._lose()
                    if not again:
                        raise
            return await self._attempt(command)

    async def _attempt(self, command: Command) -> Any:
        if not self._fulfilled:
            await self._fulfil()
        return await command()

    async def _fulfil(self) -> None:
        if self._condition is not None:
            await self._condition()
        self._fulfilled = True

    @asynccontextmanager
    async def alone(
        self, deadline: float
    ) -> AsyncIterator[Callable[[Callable[[Redis], Awaitable[Any]]], Awaitable[Any]]]:
        """A separate connection for long waits. Yields a function that runs a command on it, within `deadline` seconds in
        addition to the timeout. Raises `StoreUnavailable`."""
        pool = Pool(**self._options)
        client: Redis = Redis.from_pool(pool)

        async def run(command: Callable[[Redis], Awaitable[Any]]) -> Any:
            async with translated(self._where), asyncio.timeout(deadline + self._timeout):
                try:
                    return await command(client)
                except ResponseError as exc:
                    self._misled(exc, pool)
                    raise

        try:
            async with translated(self._where), asyncio.timeout(ROUND_TRIPS * self._timeout):
                await pool.release(await pool.taken())
            yield run
        finally:
            await _close(client)

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await _close(self.redis)
        if self._route is not None:
            await self._route.close()

    def _renew(self) -> None:
        if self._renewed is not None and self._credentials.use(read_store_address(self._renewed())):
            self._pool.doubt()

    def _where(self) -> str:
        return self.place

    def _lose(self) -> None:
        self._pool.doubt()
        if self._route is not None:
            self._route.doubt()

    def _misled(self, exc: Exception, pool: Pool) -> bool:
        """Whether the server says that it is the wrong one. It has not run the command then, and another one may run it."""
        if self._route is None:
            return False
        if isinstance(exc, MovedError):
            elsewhere = self._route.moved(Host(exc.host, exc.port) if exc.host else None)
        elif isinstance(exc, ReadOnlyError) and self._route.checks_role:
            elsewhere = self._route.moved(None)
        else:
            if isinstance(exc, (AskError, TryAgainError, ClusterDownError)):
                self._route.doubt()
            return False
        pool.doubt()
        return elsewhere


async def _close(client: Redis) -> None:
    """Close a client and its connections. A connection that cannot be closed properly is already gone."""
    with suppress(Exception):
        await client.aclose()
