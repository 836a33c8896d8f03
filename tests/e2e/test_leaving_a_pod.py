"""A pod with a native sidecar ends, as the kubelet ends it: both preStop hooks first, then SIGTERM for the API, and for the sidecar only
after the API has ended. Another pod of the Service serves on."""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.process import COMMAND, Sidecar, running
from tests.support.raw import read_response
from tests.support.redis import RedisServer, free_port
from tests.support.traffic import Threads
from tests.support.waiting import wait_until

CLIENTS: Final = 8
API: Final = """
import asyncio, pathlib, sys
from aiohttp import web

async def orders(_):
    return web.Response(text="ok")

async def slow(_):
    while not pathlib.Path(sys.argv[2]).exists():
        await asyncio.sleep(0.01)
    return web.Response(status=201)

app = web.Application()
app.add_routes([web.get("/orders", orders), web.post("/slow", slow)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=lambda *_: print("listens", flush=True))
"""
"""On SIGTERM it stops to listen, and finishes what it has begun: /slow ends when the file is there."""


class Pod:
    """A sidecar, and the API behind it."""

    def __init__(self, sidecar: Sidecar, api: "subprocess.Popen[str]", api_port: int, folder: Path) -> None:
        self.sidecar = sidecar
        self.api = api
        self.folder = folder
        self._api_port = api_port

    def api_listens(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._api_port), timeout=5).close()
            return True
        return False

    def drain(self) -> None:
        """The preStop hook of the sidecar."""
        command = [*COMMAND, "drain", "--config", str(self.folder / "sidecar.yaml")]
        subprocess.run(command, capture_output=True, timeout=30, check=True)


@contextlib.contextmanager
def pod(folder: Path, redis: RedisServer) -> Iterator[Pod]:
    port, admin = free_port(), free_port()
    command = [sys.executable, "-c", API, str(port), str(folder / "release")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as api:
        try:
            assert api.stdout
            assert "listens" in api.stdout.readline()
            folder.mkdir()
            sections = {
                "admin": {"listen": f"127.0.0.1:{admin}"}, "store": {"url": redis.url}, "drain": {"delay": "300ms", "timeout": "20s"},
                "routes": [{"path": "/**", "access": "public"}],
            }  # fmt: skip
            with running(folder, f"http://127.0.0.1:{port}", **sections) as sidecar:
                yield Pod(sidecar, api, port, folder)
        finally:
            api.kill()


class Clients(Threads):
    """Each keeps its connection for as long as it may, and opens the next one to a pod of the Service. `answers` counts statuses, and
    what was no answer; `on` has the pod of each client's connection."""

    def __init__(self, service: list[Pod]) -> None:
        super().__init__()
        self.service = service
        self.answers: Counter[object] = Counter()
        self.on: dict[int, Pod] = {}
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def _run(self, number: int) -> None:
        while not self._ended.is_set():
            pods = self.service
            pod = self.on[number] = pods[number % len(pods)]
            connection = http.client.HTTPConnection(*pod.sidecar.address, timeout=20)
            with contextlib.closing(connection):
                kept = True
                while kept and not self._ended.wait(0.005):
                    kept = self._ask(connection)

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        try:
            connection.request("GET", "/orders")
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as exc:
            self._count(repr(exc))
            return False
        self._count(response.status)
        return not response.will_close

    def _count(self, what: object) -> None:
        with self._lock:
            self.answers[what] += 1

    def more(self, count: int) -> None:
        """Wait for so many more answers."""
        before = self.answers.total()
        wait_until(lambda: self.answers.total() > before + count, within=30)


@pytest.mark.parametrize("drained", [True, False], ids=["with the preStop of the sidecar", "without"])
def test_a_pod_that_ends_with_a_slow_request_loses_nothing(tmp_path: Path, *, drained: bool) -> None:
    """Without the soft drain, the clients that keep their connections get 502 until that request has ended: the hook is needed."""
    with (
        RedisServer() as redis,
        pod(tmp_path / "a", redis) as leaving,
        pod(tmp_path / "b", redis) as staying,
        Clients([leaving, staying]) as clients,
        socket.create_connection(leaving.sidecar.address, timeout=30) as slow,
    ):
        clients.more(200)
        assert set(clients.on.values()) == {leaving, staying}
        slow.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        clients.more(200)

        clients.service = [staying]
        if drained:
            leaving.drain()
            wait_until(lambda: leaving not in clients.on.values(), within=20)
        leaving.api.send_signal(signal.SIGTERM)
        wait_until(lambda: not leaving.api_listens(), within=20)
        clients.more(400)
        assert leaving.api.poll() is None, "the slow request holds it"
        (leaving.folder / "release").touch()
        assert read_response(slow).status == 201
        leaving.api.wait(30)
        leaving.sidecar.stop()
        clients.more(100)
    assert set(clients.answers) == ({200} if drained else {200, 502})
