"""A real `redis-server` on a free port of loopback, and the faults that it can have."""

import contextlib
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


class RedisServer:
    """A server without persistence: a restart loses its data, like a failover to an empty replica.

    `options` are added to its command line (`requirepass` and so on); `port`: not just any; `tls`: on a port of its own,
    beside the other.
    """

    def __init__(self, *options: str, password: str = "", port: int = 0, tls: bool = False) -> None:
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.unix_socket = self.folder / "redis.sock"
        self._options = [*options, *(["--requirepass", password] if password else [])]
        self._password = password
        self.tls_port = free_port() if tls else 0
        self.paused = False
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its address, with the password if it has one."""
        return f"redis://{f':{self._password}@' if self._password else ''}127.0.0.1:{self.port}/0"

    def client(self) -> "redis.Redis":
        """A synchronous client, to look behind the scenes."""
        return redis.Redis.from_url(self.url)

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        self._process = subprocess.Popen(["redis-server", *self.arguments()], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(redis.RedisError), contextlib.closing(self.client()) as client:
                client.ping()
                return
            assert self._process.poll() is None, "redis-server did not start"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def arguments(self) -> list[str]:
        """Its command line."""
        return [
            "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.unix_socket),
            "--dir", str(self.folder), "--save", "", "--appendonly", "no",
            *(["--tls-port", str(self.tls_port)] if self.tls_port else []), *self._options,
        ]  # fmt: skip

    @property
    def running(self) -> bool:
        """Whether it was started and not killed since."""
        return self._process is not None

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Connections stay open and nothing answers: a network that swallows packets."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)
        self.paused = False

    def command(self, *words: Any) -> Any:
        """Run one command."""
        with contextlib.closing(self.client()) as client:
            return client.execute_command(*words)

    def use_password(self, password: str) -> None:
        """From now on; who is logged in stays so."""
        self.command("CONFIG", "SET", "requirepass", password)
        self._password = password

    def calls(self) -> dict[str, int]:
        """How often each command was run, from `INFO commandstats`."""
        with contextlib.closing(self.client()) as client:
            stats: dict[str, Any] = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): int(entry["calls"]) for name, entry in stats.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
