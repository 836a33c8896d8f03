"""oauth.slow_hashes: one at a time, a bounded queue, and the event loop goes on."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

from sidecar.core.reasons import Reason, Refused
from sidecar.oauth.slow_hashes import SlowHashes


class Held:
    """A check that waits to be let go, and notes how many run at the same time."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.running = self.most = 0

    def __call__(self, value: int) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        assert self.release.wait(30)
        self.running -= 1
        return value


@pytest.fixture
def hashes() -> Iterator[SlowHashes]:
    with contextlib.closing(SlowHashes("test")) as made:
        yield made


async def test_one_runs_and_sixteen_wait_at_most_and_twelve_of_one_address(hashes: SlowHashes) -> None:
    held, loop = Held(), asyncio.get_running_loop()
    tasks = [loop.create_task(hashes.run(held, number, peer="a")) for number in range(12)]
    await asyncio.sleep(0)
    with pytest.raises(Refused) as caught:
        await hashes.run(held, 0, peer="a", client_id="app")
    assert (caught.value.reason, caught.value.client_id) == (Reason.THROTTLED, "app")
    tasks += [loop.create_task(hashes.run(held, number, peer="b")) for number in range(4)]
    await asyncio.sleep(0)
    assert repr(hashes) == "16 waiting"
    with pytest.raises(Refused):
        await hashes.run(held, 0, peer="c")
    held.release.set()
    assert await asyncio.gather(*tasks) == [*range(12), *range(4)]
    assert held.most == 1
    assert repr(hashes) == "0 waiting"


async def test_what_a_check_raises_is_raised_and_gives_the_place_back(hashes: SlowHashes) -> None:
    def fail() -> None:
        raise Refused(Reason.BAD_CLIENT_SECRET)

    with pytest.raises(Refused):
        await hashes.run(fail, peer="a")
    assert repr(hashes) == "0 waiting"


async def test_a_caller_that_leaves_gives_its_place_back(hashes: SlowHashes) -> None:
    held = Held()
    tasks = [asyncio.get_running_loop().create_task(hashes.run(held, number, peer="a")) for number in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert repr(hashes) == "0 waiting"
    held.release.set()


async def test_the_end_gives_up_what_waits() -> None:
    hashes, held = SlowHashes("test"), Held()
    first, second = (asyncio.get_running_loop().create_task(hashes.run(held, number, peer="a")) for number in range(2))
    await asyncio.sleep(0)
    hashes.close()
    hashes.close()
    held.release.set()
    assert await first == 0
    with pytest.raises(asyncio.CancelledError):
        await second
