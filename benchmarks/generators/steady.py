"""Asks without a pause until its stdin ends: `PORT PATH BEARER`.

One connection, one request at a time. Answers: how many requests there were, and the longest of their answers in ms.
"""

import json
import select
import sys
import time

from benchmarks.generators.revocations import admitted, connect
from benchmarks.generators.wire import request
from benchmarks.machine import Invalid


def main(port: int, path: str, bearer: str) -> None:
    """Print the answer."""
    head, count, longest = request("GET", path, bearer), 0, 0.0
    with connect(port) as sock:
        admitted(sock, head)
        while not select.select([sys.stdin], [], [], 0)[0]:
            began = time.perf_counter()
            if not admitted(sock, head):
                raise Invalid("a request was refused")
            longest, count = max(longest, time.perf_counter() - began), count + 1
    print(json.dumps({"requests": count, "longest": longest * 1000}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
