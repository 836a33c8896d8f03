"""New connections at a steady rate until its stdin ends: `PORT RATE PATH`; each carries one request.

Answers: how many were begun and how many were served, and what happened to the others.
"""

import asyncio
import json
import sys
import time
from collections import Counter

import uvloop

_WITHIN = 10.0  # seconds
_STEP = 0.002  # seconds


async def one(port: int, head: bytes, seen: Counter[str]) -> None:
    """Connect, ask, and note what came of it."""
    try:
        async with asyncio.timeout(_WITHIN):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError) as exc:
        seen[type(exc).__name__] += 1
    else:
        seen[answer[:12].decode("latin-1") or "nothing"] += 1


async def main(port: int, rate: int, path: str) -> None:
    """Print the answer."""
    head = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
    seen: Counter[str] = Counter()
    tasks: set[asyncio.Task[None]] = set()
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(sys.stdin, over.set)
    began, begun = time.monotonic(), 0
    while not over.is_set():
        while begun < (time.monotonic() - began) * rate:
            begun += 1
            task = loop.create_task(one(port, head, seen))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(_STEP)
    seconds = time.monotonic() - began
    await asyncio.gather(*tasks)
    served = seen.pop("HTTP/1.1 200", 0)
    print(json.dumps({"begun": begun, "served": served, "lost": dict(seen), "rate": begun / seconds}))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
