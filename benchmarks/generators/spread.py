"""How soon all workers know a revocation: `PORT PATH COUNT CLIENT SECRET PID…`, with the ids of the workers.

One connection to each worker is found: the system lists whose socket is at its other end. For each of so many tokens: every
worker admits it; one of them revokes it; from the whole 200 of that on, all are asked in turn, again and again, until each has
refused. Answers: the ms until the last of these refusals had come, in ascending order, and the ms of one turn.
"""

import contextlib
import json
import socket
import statistics
import sys
import time
from pathlib import Path

from benchmarks.generators.revocations import admitted, connect, issued
from benchmarks.generators.wire import exchange, form, request
from benchmarks.machine import Invalid

_MOST_TRIES = 400
_PATIENCE = 10.0  # seconds


def owner(sock: socket.socket, port: int, workers: list[int]) -> int | None:
    """Which of the workers has accepted this connection; `None` until one has."""
    ours = f"{sock.getsockname()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *_rest, inode = line.split()[:10]
        if local.endswith(f":{port:04X}") and remote.endswith(f":{ours}"):
            for pid in workers:
                for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if descriptor.readlink().name == f"socket:[{inode}]":
                            return pid
    return None


def one_to_each(port: int, workers: list[int], path: str, token: str) -> list[socket.socket]:
    """Raises `Invalid` when a worker gets no connection."""
    found: dict[int, socket.socket] = {}
    others = []
    for _ in range(_MOST_TRIES):
        sock = connect(port)
        admitted(sock, request("GET", path, token))
        pid = owner(sock, port, workers)
        if pid is None or pid in found:
            others.append(sock)  # kept, so that the others get the next one
        else:
            found[pid] = sock
        if len(found) == len(workers):
            for each in others:
                each.close()
            return list(found.values())
    raise Invalid(f"only {len(found)} of {len(workers)} workers got a connection")


def latency(watching: list[socket.socket], path: str, credentials: dict[str, str]) -> float:
    """The ms of one revocation."""
    token = issued(watching[0], credentials)
    head = request("GET", path, token)
    if not all(admitted(sock, head) for sock in watching):
        raise Invalid("a token is refused before it is revoked")
    exchange(watching[0], form("/oauth/revoke", {"token": token, **credentials}))
    began, left = time.perf_counter(), list(watching)
    while left := [sock for sock in left if admitted(sock, head)]:
        if time.perf_counter() - began > _PATIENCE:
            raise Invalid("a worker does not learn of a revocation")
    return (time.perf_counter() - began) * 1000


def main(port: int, path: str, count: int, client: str, secret: str, *workers: int) -> None:
    """Print the answer."""
    credentials = {"client_id": client, "client_secret": secret}
    with connect(port) as first:
        token = issued(first, credentials)
    watching = one_to_each(port, list(workers), path, token)
    head = request("GET", path, token)
    turns = []
    for _ in range(50):
        began = time.perf_counter()
        for sock in watching:
            admitted(sock, head)
        turns.append((time.perf_counter() - began) * 1000)
    found = sorted(latency(watching, path, credentials) for _ in range(count))
    print(json.dumps({"latencies": found, "turn": statistics.median(turns)}))


if __name__ == "__main__":
    port, path, count, client, secret, *workers = sys.argv[1:]
    main(int(port), path, int(count), client, secret, *map(int, workers))
