"""Hostile clients before a sidecar with a real limit of memory: a cgroup where one can be made, as for a container. Elsewhere
the sidecar gets the same limit from its configuration, and what it uses is compared with the limit."""

import contextlib
import itertools
import json
import re
import resource
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest
import yaml

from tests.support.certificates import Authority
from tests.support.cgroup import MemoryCgroup, memory_cgroup
from tests.support.manifests import container, contents, memory, named, rendered
from tests.support.process import COMMAND, SECRET, Sidecar, configuration
from tests.support.raw import connect, read_response
from tests.support.upstream import Received, Upstream, reply
from tests.support.waiting import wait_until

MIB: Final = 1024**2
HEAD: Final = b" HTTP/1.1\r\nHost: a\r\n"
FORM: Final = HEAD + b"Content-Type: application/x-www-form-urlencoded\r\n"
LARGE: Final = reply(200, b"a" * 300_000)
HOSTILE: Final[dict[str, bytes]] = {
    "a large field": b"GET /" + HEAD + b"X: " + b"a" * 30_000 + b"\r\nY",
    "many small fields": b"GET /" + HEAD + b"".join(b"a%d: b%d\r\n" % (i, i) for i in range(500)),
    "a field beyond ASCII": b"GET /" + HEAD + b"X: " + b"a" * 30_000 + "😀".encode() + b"\r\nY",
    "a body that may hold a token": b"POST /x" + FORM + b"Content-Length: 65000\r\n\r\n" + b"a" * 64_000,
    "a body in pieces": b"POST /x" + FORM + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n" + b"a" * 65_000,
    "a body for our own endpoint": b"POST /oauth/token" + FORM + b"Content-Length: 65000\r\n\r\n" + b"a" * 64_000,
    "a head behind a request": b"POST /x" + HEAD + b"Content-Length: 1\r\n\r\naGET /" + HEAD + b"X: " + b"a" * 30_000,
    "an answer that is not read": b"GET /public/large" + HEAD + b"\r\n",
    "nothing": b"",
}


def answer(received: Received, connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        connection.sendall(LARGE if "large" in received.target else reply())
    return True


class Place:
    """A sidecar that may use so much memory; `connect` speaks TLS if it does."""

    def __init__(self, sidecar: Sidecar, cgroup: MemoryCgroup | None, context: ssl.SSLContext | None) -> None:
        self.sidecar = sidecar
        self.cgroup = cgroup
        self._context = context

    def connect(self, buffer: int = 0) -> socket.socket:
        """A connection; `buffer` as in `raw.connect`."""
        return connect(self.sidecar.address, buffer=buffer, context=self._context, timeout=30)

    def token(self) -> str:
        form = b"grant_type=client_credentials&client_id=reporting&client_secret=" + SECRET.encode()
        with self.connect() as connection:
            connection.sendall(b"POST /oauth/token" + FORM + b"Content-Length: %d\r\n\r\n" % len(form) + form)
            return str(json.loads(read_response(connection).body)["access_token"])

    def most_resident(self) -> int:
        """The most bytes that the process had in memory at a time."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.sidecar.process.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024


class Owners(threading.Thread):
    """Those who have a token, one request after the other: on a connection that stays, on a new one, and in two parts. `rounds`
    is how often all were served, `faults` what else happened."""

    def __init__(self, place: Place) -> None:
        super().__init__(daemon=True)
        self._place = place
        self._request = b"GET /x" + HEAD + f"Authorization: Bearer {place.token()}\r\n\r\n".encode()
        self._over = threading.Event()
        self.rounds = 0
        self.faults: list[str] = []

    def run(self) -> None:
        try:
            with self._place.connect() as kept:
                while not self._over.is_set():
                    kept.sendall(self._request)
                    statuses = [read_response(kept).status, self._ask(self._request)]
                    statuses.append(self._ask(self._request[:30], self._request[30:]))
                    if statuses != [200] * 3:
                        self.faults.append(str(statuses))
                    self.rounds += 1
        except OSError as exc:
            self.faults.append(repr(exc))

    def _ask(self, *parts: bytes) -> int:
        with self._place.connect() as connection:
            for number, part in enumerate(parts):
                if number:
                    time.sleep(0.05)  # so that it is a read of its own
                connection.sendall(part)
            return read_response(connection).status

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.join(60)


@contextlib.contextmanager
def limited(folder: Path, upstream: str, limit: int, *, tls: bool = False, **more: Any) -> Iterator[Place]:
    """A sidecar that may use `limit` bytes, and does not know it from its configuration if that can be avoided. `more` are sections
    of its configuration."""
    sections: dict[str, Any] = {"routes": [{"path": "/public/**", "access": "public"}], **more}
    context = None
    if tls:
        authority = Authority(folder / "ca")
        pair = authority.issue("server", "server")
        sections["tls"] = {"certificate": str(pair.certificate), "key": str(pair.key)}
        context = authority.trusting()
    with memory_cgroup(limit) as cgroup:
        if cgroup is None and not more:
            sections["limits"] = {"memory": f"{(limit - 80 * MIB) * 3 // 4 // MIB}MiB"}
        config = configuration(upstream, **sections)
        with Sidecar(folder, config, command=cgroup.command if cgroup else COMMAND) as sidecar:
            yield Place(sidecar.ready(), cgroup, context)


def hostile(place: Place, stack: contextlib.ExitStack, kind: str) -> None:
    """One more hostile client, which keeps its connection."""
    connection = stack.enter_context(place.connect(4096 if kind == "an answer that is not read" else 0))
    with contextlib.suppress(OSError):
        connection.sendall(HOSTILE[kind])


def attack(
    folder: Path, limit: int, connections: int, *, waves: int = 1, tls: bool = False, kinds: Sequence[str] = (*HOSTILE,)
) -> None:
    """So many hostile clients of these kinds at a time, in several waves, while others use their tokens."""
    with Upstream(answer) as upstream, limited(folder, upstream.url, limit, tls=tls) as place:
        sidecar, cgroup = place.sidecar, place.cgroup
        with Owners(place) as owners:
            for _ in range(waves):
                with contextlib.ExitStack() as stack:
                    for number in range(connections):
                        hostile(place, stack, kinds[number % len(kinds)])
                    rounds = owners.rounds
                    wait_until(lambda rounds=rounds: owners.rounds > rounds + 3 or bool(owners.faults), within=60)
                    assert sidecar.process.poll() is None, "it was killed"
                    assert sidecar.metric("sidecar_own_failures_total", reason="overloaded") > 0
                    assert (
                        0 < sidecar.metric("sidecar_memory_held_bytes") <= sidecar.metric("sidecar_memory_limit_bytes")
                    )
        assert owners.faults == []
        assert place.most_resident() < limit
        if cgroup is not None and cgroup.most_used is not None:
            assert cgroup.most_used <= limit
        wait_until(lambda: sidecar.metric("sidecar_memory_held_bytes") == 0)
        assert not sidecar.records("internal_error")


def possible(connections: int) -> int:
    """As many of the wanted connections as this process, and the sidecar's two for each at most, have descriptors for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(connections, hard // 2 - 100)


def test_a_crowd_does_not_get_the_sidecar_killed(tmp_path: Path) -> None:
    attack(tmp_path, 160 * MIB, possible(2500))


def test_a_crowd_over_tls_does_not_either(tmp_path: Path) -> None:
    """Each connection costs ten times as much, so there are fewer, and these hold more."""
    kinds = ["many small fields", "a field beyond ASCII", "a body in pieces", "an answer that is not read"]
    attack(tmp_path, 256 * MIB, possible(850), tls=True, kinds=kinds)


@pytest.mark.faults
def test_ten_thousand_hostile_connections_do_not_get_the_sidecar_killed(tmp_path: Path) -> None:
    attack(tmp_path, 256 * MIB, possible(10_000), waves=3)


@pytest.mark.faults
def test_a_command_beside_a_crowd_does_not_get_a_pod_killed(tmp_path: Path) -> None:
    """With the memory and the limits of deploy/k8s: the preStop hook is a second process in the same container."""
    documents = rendered("example")
    limit = memory(container(documents, "sidecar")["resources"]["limits"]["memory"])
    limits = yaml.safe_load(contents(named(documents, "ConfigMap"))["sidecar.yaml"])["limits"]
    with (
        Upstream(answer) as upstream,
        limited(tmp_path, upstream.url, limit, limits=limits) as place,
        contextlib.ExitStack() as stack,
    ):
        if place.cgroup is None:
            pytest.skip("no cgroup can be made here")
        for number in range(possible(limits["connections"])):
            hostile(place, stack, [*HOSTILE][number % len(HOSTILE)])
        wait_until(lambda: place.sidecar.metric("sidecar_own_failures_total", reason="overloaded") > 0, within=60)
        words = [*place.cgroup.command, "drain", "--admin", place.sidecar.admin.removeprefix("http://")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert place.sidecar.process.poll() is None, "it was killed"
        assert place.cgroup.most_used is None or place.cgroup.most_used < limit


def test_the_limit_of_the_container_is_found(tmp_path: Path) -> None:
    """More memory for the process is more memory for its clients, and fewer connections than configured are logged."""
    seen = []
    with Upstream() as upstream:
        for limit in (120 * MIB, 200 * MIB):
            with limited(tmp_path, upstream.url, limit) as place:
                if place.cgroup is None:
                    pytest.skip("no cgroup can be made here")
                sidecar = place.sidecar
                record = sidecar.record("connections_limited", detail="raise the memory limit, or limits.memory")
                assert record["memory"] == sidecar.metric("sidecar_memory_limit_bytes")
                assert record["limit"] < record["wanted"]
                seen.append(record["memory"])
    assert all(0 < lower < higher for lower, higher in itertools.pairwise(seen))
    assert seen[-1] < 200 * MIB
