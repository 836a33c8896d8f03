"""Revokes through the store's own script, one id at a time: `REDIS_PORT RATE SECONDS`. Answers: how many, and in what time."""

import asyncio
import json
import random
import secrets
import sys
import time

from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.store import RedisStore

TTL = 1800  # seconds


async def run(port: int, rate: float, seconds: float) -> dict[str, float]:
    """As many as are due at each moment; ids as the sidecar makes them."""
    server = Server(f"redis://127.0.0.1:{port}/0", timeout=10)
    store = RedisStore(
        server, prefix="{sidecar}", interval=1, clock=time.time, monotonic=time.monotonic, emit=print,
        jitter=random.random,
    )  # fmt: skip
    begun, done = time.monotonic(), 0
    while (lasted := time.monotonic() - begun) < seconds:
        for _ in range(int(lasted * rate) - done):
            await store.remember([(secrets.token_urlsafe(16), int(time.time()) + TTL)])
            done += 1
        await asyncio.sleep(0.001)
    await store.close()
    return {"revoked": done, "seconds": lasted}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))))
