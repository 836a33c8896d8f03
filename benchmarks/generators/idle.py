"""Keep-alive connections that have been used once and then say nothing: `PORT PATH TOKEN`.

For each number that comes on a line of standard input, opens connections until there are as many, and answers on a line
how many of them are still open. Ends with its input.
"""

import json
import select
import socket
import sys

from benchmarks.generators.wire import exchange, request
from sidecar.runtime.descriptors import raise_descriptor_limit


def alive(sockets: list[socket.socket]) -> int:
    """How many have nothing to say: a closed one would be readable."""
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN)
    return len(sockets) - len(poll.poll(0))


def _main(port: str, path: str, token: str) -> None:
    raise_descriptor_limit()
    head = request("GET", path, token)
    sockets: list[socket.socket] = []
    for line in sys.stdin:
        while len(sockets) < int(line):
            sockets.append(socket.create_connection(("127.0.0.1", int(port)), timeout=10))
            exchange(sockets[-1], head)
        print(json.dumps(alive(sockets)), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
