"""Requests at a fixed rate, whatever the answers do: `PORT PATH TOKEN RATE SECONDS CONNECTIONS`.

Rules:
- When a request is due is settled before the first is sent: independent arrivals (exponential gaps, always the same).
- Latency counts from when a request was due, not from when it was sent: who answers slowly pays for those that wait
  (Gil Tene's "coordinated omission").
- A request goes out on a connection that is free; when none is, it waits, and its time runs.

`select` takes its time limit in µs; the timers of epoll and uvloop are rounded to ms. Answers: latencies in ms in ascending
order, and how late requests were sent after they were due and had a connection: that is the generator's own fault, while
waiting for a connection is the fault of who answers.
"""

import gc
import json
import random
import select
import socket
import sys
import time
from collections import deque

from benchmarks.generators.wire import exchange, receive, request

_GRACE = 0.05  # seconds until the first is due


def schedule(rate: float, seconds: float) -> list[float]:
    """When each request is due, in seconds from the start."""
    gaps = random.Random(1)  # noqa: S311  no secret
    due, times = 0.0, []
    while (due := due + gaps.expovariate(rate)) < seconds:
        times.append(due)
    return times


class Client:
    """A connection that has been used once, and the request under way on it."""

    def __init__(self, port: int, head: bytes) -> None:
        self._head = head
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = bytearray()
        self.due = 0.0
        exchange(self.sock, head)

    def fileno(self) -> int:
        """For `select`."""
        return self.sock.fileno()

    def send(self, due: float) -> None:
        """Send a request that was due then."""
        self.due = due
        self._answer.clear()
        self.sock.sendall(self._head)

    def answered(self) -> bool:
        """Take what has come; whether that was all."""
        return receive(self.sock, self._answer) == 0


def run(clients: list[Client], times: list[float]) -> tuple[list[float], list[float]]:
    """Latency and lateness of each request, in ms, in no order."""
    idle, busy, waiting = list(clients), set[Client](), deque(times)
    latencies: list[float] = []
    lateness: list[float] = []
    began = time.perf_counter() + _GRACE
    freed = 0.0  # when a connection was free again, after all had been busy
    while len(latencies) < len(times):
        now = time.perf_counter() - began
        while waiting and waiting[0] <= now and idle:
            client = idle.pop()
            busy.add(client)
            client.send(waiting[0])
            lateness.append((now - max(freed, waiting.popleft())) * 1000)
        limit = max(0.0, waiting[0] - (time.perf_counter() - began)) if waiting and idle else 1.0
        readable, _, _ = select.select(busy, [], [], limit)
        for client in readable:
            if client.answered():
                arrived = time.perf_counter() - began
                latencies.append((arrived - client.due) * 1000)
                freed = freed if idle else arrived
                busy.remove(client)
                idle.append(client)
    return latencies, lateness


def _main(port: str, path: str, token: str, rate: str, seconds: str, connections: str) -> None:
    head = request("GET", path, token)
    clients = [Client(int(port), head) for _ in range(int(connections))]
    gc.disable()
    latencies, lateness = run(clients, schedule(float(rate), float(seconds)))
    print(json.dumps({"latencies": sorted(latencies), "lateness": sorted(lateness)}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
