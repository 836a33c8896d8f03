"""Hundreds of thousands of revocations: forgetting them, loading them and giving them back stops no request."""

import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.process import SECRET, get, running
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

COUNT = 200_000
REVOKED = "{sidecar}:revoked"


def fill(server: RedisServer) -> None:
    """As many with ends from now on, so that some are forgotten all the while."""
    now = int(time.time())
    client = server.client()
    for start in range(0, COUNT, 10_000):
        pairs = [each for n in range(start, start + 10_000) for each in (now + 20 + n % 3600, f"jti-{n:016d}")]
        client.execute_command("ZADD", REVOKED, *pairs)
    client.close()


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [1, 2])
def test_requests_go_on_beside_a_purge_and_a_loss(tmp_path: Path, workers: int) -> None:
    with RedisServer() as server, Upstream() as upstream:
        fill(server)
        store = {"url": server.url}
        with running(tmp_path, upstream.url, store=store, workers=workers) as sidecar:
            assert sidecar.metric("sidecar_revocations") == COUNT
            token, revoked = sidecar.token(), sidecar.token()
            form = {"client_id": "reporting", "client_secret": SECRET, "token": revoked}
            assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 200
            codes: Counter[int] = Counter()
            stop = threading.Event()

            def ask() -> None:
                while not stop.is_set():
                    codes[get(f"{sidecar.public}/x", Authorization=f"Bearer {token}")[0]] += 1

            thread = threading.Thread(target=ask)
            thread.start()
            try:
                wait_until(lambda: sidecar.metric("sidecar_revocations") < COUNT - 500, within=60)
                server.command("FLUSHALL")
                wait_until(lambda: server.command("ZCARD", REVOKED) > COUNT * 0.9, within=120)
                wait_until(lambda: not server.command("HEXISTS", "{sidecar}:state", "open"), within=60)
            finally:
                stop.set()
                thread.join()
            assert set(codes) == {200}
            assert get(f"{sidecar.public}/x", Authorization=f"Bearer {revoked}")[0] == 401
            assert server.command("ZCARD", REVOKED) > COUNT * 0.9
