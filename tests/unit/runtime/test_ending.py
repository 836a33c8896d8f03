"""runtime.ending: the end comes, whatever hangs. In processes of their own, since the end is theirs."""

import json
import subprocess
import sys

import pytest

from sidecar.runtime.ending import in_background
from sidecar.runtime.sockets import StartError

HANGING = """
import asyncio, logging, time
from sidecar.ops.logs import configure
from sidecar.runtime.ending import Ending
configure("info", "json")

async def stubborn():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def main():
    ending = Ending()
    ending.doing, ending.code = "closing things", {code}
    task = asyncio.get_running_loop().create_task(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    ending.within(60)
    ending.within(0.2)
    ending.within(60)
    {hang}

asyncio.run(main())
"""


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("hang", ["await task", "time.sleep(60)"])
def test_a_process_that_hangs_is_ended_in_time_and_says_what_hung(code: int, hang: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING.format(code=code, hang=hang)], stderr=subprocess.PIPE, timeout=30, check=False
    )
    assert done.returncode == code
    (line,) = [json.loads(line) for line in done.stderr.splitlines() if b"shutdown_overdue" in line]
    assert line["doing"] == "closing things"
    assert any(task.startswith("stubborn: stubborn") for task in line["tasks"])


def test_a_system_without_threads_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(StartError, match="raise the limit of processes"):
        in_background(lambda: None, "x")
