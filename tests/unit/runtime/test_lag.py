"""runtime.lag: the lateness of a timer is that of the event loop."""

import asyncio
import time
from collections.abc import Callable

import uvloop

from sidecar.runtime.lag import LagMeter
from tests.support.waiting import eventually


class Loop:
    """A loop whose timers the test lets ring."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []
        self.cancelled = 0

    def call_later(self, _: float, call: Callable[[], None]) -> "Loop":
        self.timers.append(call)
        return self

    def cancel(self) -> None:
        self.cancelled += 1


def test_a_timer_is_late_by_what_held_the_loop() -> None:
    loop, now, observed = Loop(), [100.0], list[float]()
    meter = LagMeter(loop, monotonic=lambda: now[0], observe=observed.append)  # type: ignore[arg-type]
    meter.start()
    for passed in (0.1, 0.35, 0.09):
        now[0] += passed
        loop.timers.pop()()
    assert [round(each, 6) for each in observed] == [0.0, 0.25, 0.0], "a timer that rings early is not late"
    assert len(loop.timers) == 1
    meter.stop()
    meter.stop()
    assert loop.cancelled == 1
    assert repr(meter) == "<LagMeter off>"


def test_a_real_loop_that_is_held_is_seen_to_be_late() -> None:
    async def main() -> list[float]:
        observed: list[float] = []
        meter = LagMeter(asyncio.get_running_loop(), monotonic=time.monotonic, observe=observed.append)
        meter.start()
        time.sleep(0.4)  # noqa: ASYNC251  what a request must never do
        await eventually(lambda: bool(observed))
        meter.stop()
        return observed

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert max(runner.run(main())) > 0.2
