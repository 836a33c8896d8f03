"""The connections to a server, and their pool.

redis-py's, with three differences: a connection asks a `route` for its server, it is never used half open, and the pool uses
none that is known to be dead or that leads to another server than the one that was found last.
"""

import asyncio
import select
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakSet

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sidecar.core.store_address import Host, StoreAddress, Topology
from sidecar.stores.redis.faults import NotPrimary
from sidecar.stores.redis.route import ROUND_TRIPS, FollowedRoute
from sidecar.stores.redis.tls import client_context


def connection_options(address: StoreAddress, timeout: float) -> dict[str, Any]:
    """What redis-py needs for a connection, besides the server and the password."""
    kinds: dict[tuple[bool, bool], type[AbstractConnection]] = {
        (True, False): UnixDomainSocketConnection,
        (False, False): _RoutedConnection,
        (False, True): _RoutedTlsConnection,
    }
    socket = address.topology is Topology.SOCKET
    # `asyncio.timeout` limits every command here. With a `socket_timeout` redis-py would use `asyncio.wait_for`, which in
    # Python 3.11 loses a cancellation that arrives while the command is being sent.
    return {
        "connection_class": kinds[socket, address.tls],
        "db": address.db,
        **({"path": address.path} if socket else {}),
        **({"tls": address.options} if address.tls else {}),
        "socket_timeout": None,
        "socket_connect_timeout": ROUND_TRIPS * timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "client_name": "auth-sidecar",
        "driver_info": None,
    }


class _RoutedConnection(Connection):
    """Looks up its server whenever it connects."""

    def __init__(self, *, route: FollowedRoute, timeout: float, **options: Any) -> None:
        super().__init__(**options)
        self._route = route
        self._timeout = timeout

    async def connect(self) -> None:
        if self.is_connected:
            return
        try:
            async with asyncio.timeout(self._route.patience * self._timeout):
                await super().connect()  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException as exc:
            self._close()  # type: ignore[no-untyped-call]  # half open, it would be taken for a whole one
            self._route.doubt(Host(self.host, self.port))
            if isinstance(exc, TimeoutError):
                self._route.late()
            raise

    async def _connect(self) -> None:
        self.host, self.port = await self._route.find()
        await super()._connect()  # type: ignore[no-untyped-call]  # redis-py's

    @property
    def misplaced(self) -> bool:
        """Whether the server was found elsewhere since."""
        return (self.host, self.port) != self._route.last

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002  redis-py's signature
        await super().on_connect_check_health(check_health)
        if self._route.checks_role:
            await self.send_command("ROLE", check_health=False)
            role, *_ = await self.read_response()
            if role != b"master":
                self._route.moved(None)
                raise NotPrimary("the server is a replica, but was named as the primary")


class _RoutedTlsConnection(_RoutedConnection, SSLConnection):
    """The same over TLS. `tls` has the options of `client_context`."""

    def __init__(self, *, tls: Mapping[str, str], **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {"host": self.host, "port": self.port, "ssl": client_context(self._tls)}


class Pool(ConnectionPool):
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
        misplaced = isinstance(connection, _RoutedConnection) and connection.misplaced
        if misplaced or connection in self._doubted or _dead(connection):
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


def certificate_of(connection: AbstractConnection) -> bytes:
    """The certificate that the server of an open connection has shown, in DER form; empty without TLS."""
    writer = connection._writer  # noqa: SLF001  redis-py offers no public access
    secure = writer.get_extra_info("ssl_object") if writer is not None else None
    return (secure.getpeercert(binary_form=True) or b"") if secure is not None else b""
