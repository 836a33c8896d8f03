"""A process that revokes without end, through the store's own script: `python -m tests.support.storm URL RATE`."""

import asyncio
import contextlib
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator

from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.store import RedisStore

TTL = 1800


@contextlib.contextmanager
def storm(url: str, rate: int) -> Iterator["subprocess.Popen[bytes]"]:
    """While it is entered, `rate` token ids a second are revoked at `url`. It has begun when this yields."""
    command = [sys.executable, "-m", "tests.support.storm", url, str(rate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        yield process
        assert process.poll() is None, "the storm ended by itself"
    finally:
        process.kill()
        process.communicate()


async def revoke(url: str, rate: float) -> None:
    """One at a time, as an endpoint does; as many as are due."""
    server = Server(url, timeout=10)
    store = RedisStore(
        server, prefix="{sidecar}", interval=1, clock=time.time, monotonic=time.monotonic, emit=print,
        jitter=random.random,
    )  # fmt: skip
    begun, done = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - begun) * rate) - done
        for _ in range(due):
            await store.remember([(secrets.token_urlsafe(16), int(time.time()) + TTL)])
        if due and not done:
            print("begun", flush=True)  # noqa: T201  for `storm`
        done += due
        await asyncio.sleep(0.002)


if __name__ == "__main__":
    asyncio.run(revoke(sys.argv[1], float(sys.argv[2])))
