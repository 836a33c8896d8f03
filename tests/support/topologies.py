"""Real sets of Redis servers on loopback: a primary with replicas and sentinels, and a Cluster."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.redis import RedisServer, free_port
from tests.support.waiting import wait_until

SERVICE = "mymaster"
_SLOTS = 16384


class Sentinel(RedisServer):
    """A sentinel. `options` are lines of its configuration file."""

    def __init__(self, watched: int, *options: str, quorum: int = 2, down_after: int = 500, tls: bool = False) -> None:
        self._lines = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {watched} {quorum}",
            f"sentinel down-after-milliseconds {SERVICE} {down_after}",
            f"sentinel failover-timeout {SERVICE} 3000",
            *options,
        ]
        super().__init__(tls=tls)

    def use_password(self, password: str) -> None:
        self.command("ACL", "SETUSER", "default", "resetpass", f">{password}")
        self._password = password

    def arguments(self) -> list[str]:
        path = Path(self.folder) / "sentinel.conf"
        if not path.exists():  # the sentinel rewrites it, and reads it again at its next start
            path.write_text("\n".join(self._lines) + "\n")
        secure = ["--tls-port", str(self.tls_port)] if self.tls_port else []
        return [
            str(path),
            "--sentinel",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            *secure,
        ]


class Servers:
    """Several servers that are started together and killed together."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def _start(self, server: Any) -> Any:
        return self._stack.enter_context(server)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class SentinelSet(Servers):
    """A primary, two replicas and three sentinels, which know of each other. `options` are for the servers, `lines` for the
    sentinels; `password` is that of the servers."""

    def __init__(self, *options: str, lines: tuple[str, ...] = (), password: str = "") -> None:
        super().__init__()
        if password:
            options = (*options, "--masterauth", password)
            lines = (*lines, f"sentinel auth-pass {SERVICE} {password}")

        def start(*more: str) -> RedisServer:
            server: RedisServer = self._start(RedisServer(*_QUICK, *options, *more, password=password))
            return server

        try:
            primary = start()
            self.servers = [primary, *(start("--replicaof", f"127.0.0.1 {primary.port}") for _ in range(2))]
            wait_until(lambda: _replicas_online(primary) == 2, within=20)
            self.sentinels: list[Sentinel] = [self._start(Sentinel(primary.port, *lines)) for _ in range(3)]
            wait_until(lambda: all(self._sees_all(each) for each in self.sentinels), within=20)
        except BaseException:
            self._stack.close()
            raise

    @staticmethod
    def _sees_all(sentinel: Sentinel) -> bool:
        words = sentinel.command("SENTINEL", "MASTER", SERVICE)
        state = words if isinstance(words, dict) else dict(zip(words[::2], words[1::2], strict=True))
        wanted = {b"num-other-sentinels": b"2", b"num-slaves": b"2", b"flags": b"master"}
        return wanted.items() <= state.items()

    @property
    def hosts(self) -> str:
        """The sentinels, as they stand in an address."""
        return ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.hosts}/{SERVICE}/0"

    @property
    def primary(self) -> RedisServer:
        """The server that the sentinels name."""
        _, port = self.sentinels[0].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(each for each in self.servers if each.port == int(port))

    def flush(self) -> None:
        self.primary.command("FLUSHALL")

    def whole(self) -> bool:
        """Whether every server runs and both replicas are up to date."""
        return all(each.running for each in self.servers) and _replicas_online(self.primary) == 2


def _replicas_online(primary: RedisServer) -> int:
    with contextlib.closing(primary.client()) as client:
        info: dict[str, Any] = client.info("replication")
    return sum(info[f"slave{number}"]["state"] == "online" for number in range(info["connected_slaves"]))


_QUICK = ("--repl-diskless-sync-delay", "0", "--repl-diskless-sync", "yes")


class ClusterSet(Servers):
    """A Cluster of three primaries and a replica of each. `options` are for each server; `tls`: each has a port for TLS too."""

    def __init__(self, *options: str, node_timeout: int = 1000, tls: bool = False) -> None:
        super().__init__()
        quick = [*_QUICK, "--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout)]
        try:
            self._buses = [free_port() for _ in range(6)]
            self.servers: list[RedisServer] = []
            for bus in self._buses:
                self.servers.append(self._start(RedisServer(*quick, "--cluster-port", str(bus), *options, tls=tls)))
            self._join()
        except BaseException:
            self._stack.close()
            raise

    def _join(self) -> None:
        first, *others = self.servers
        for number, server in enumerate(self.servers):
            server.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, server in enumerate(self.servers[:3]):
            start, end = number * _SLOTS // 3, (number + 1) * _SLOTS // 3 - 1
            server.command("CLUSTER", "ADDSLOTSRANGE", start, end)
        for server, bus in zip(others, self._buses[1:], strict=True):
            first.command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        wait_until(lambda: all(len(self._nodes(each)) == 6 for each in self.servers), within=20)
        for primary, replica in zip(self.servers[:3], self.servers[3:], strict=True):
            replica.command("CLUSTER", "REPLICATE", self.id_of(primary))
        wait_until(lambda: all(_replicas_online(each) == 1 for each in self.servers[:3]), within=20)
        wait_until(self.healthy, within=20)

    def healthy(self, replicas: int = 3) -> bool:
        """Whether every running node says that all slots are served, and knows so many replicas."""
        for each in self.running:
            known = sum("slave" in node["flags"] for node in self._nodes(each).values())
            if b"cluster_state:ok" not in each.command("CLUSTER", "INFO") or known < replicas:
                return False
        return True

    def whole(self) -> bool:
        """Whether every server runs and every primary has a replica that is up to date."""
        primaries = self.primaries
        return len(primaries) == 3 and self.healthy() and all(_replicas_online(each) == 1 for each in primaries)

    @property
    def running(self) -> list[RedisServer]:
        """The servers that answer."""
        return [each for each in self.servers if each.running and not each.paused]

    @staticmethod
    def _nodes(server: RedisServer) -> dict[str, Any]:
        with contextlib.closing(server.client()) as client:
            nodes: dict[str, Any] = client.cluster("NODES")
        return nodes

    @staticmethod
    def id_of(server: RedisServer) -> str:
        answer = server.command("CLUSTER", "MYID")
        return answer.decode() if isinstance(answer, bytes) else str(answer)

    @property
    def url(self) -> str:
        """The address, which names three of the nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{each.port}" for each in self.servers[:3]) + "/"

    @property
    def tls_url(self) -> str:
        """The address with TLS."""
        return "rediss+cluster://" + ",".join(f"127.0.0.1:{each.tls_port}" for each in self.servers[:3])

    def primary_of(self, key: str) -> RedisServer:
        """The server that has the slot of a key, as the running ones see it."""
        server = self.running[0]
        slot = server.command("CLUSTER", "KEYSLOT", key)
        for first, last, node, *_ in server.command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(each for each in self.servers if each.port == node[1])
        raise AssertionError(f"nobody has slot {slot}")

    @property
    def primaries(self) -> list[RedisServer]:
        """The running servers that are primaries now."""
        return [each for each in self.running if each.command("ROLE")[0] == b"master"]

    def flush(self) -> None:
        for each in self.primaries:
            each.command("FLUSHALL")
