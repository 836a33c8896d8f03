"""An API server as a process of its own, which a test kills, freezes and starts again: `python -m tests.support.api PORT`."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from types import TracebackType
from typing import Self

from tests.support.redis import free_port
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until


class ApiServer:
    """Listens on `port` of loopback, and answers each request with what it received."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen([sys.executable, "-m", "tests.support.api", str(self.port)])
        wait_until(self._listens)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: the kernel still accepts connections, and nothing answers."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


if __name__ == "__main__":
    with Upstream(port=int(sys.argv[1])):
        threading.Event().wait()
