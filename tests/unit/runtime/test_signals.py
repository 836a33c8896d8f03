"""runtime.signals: what ends a process, and what never does."""

import asyncio
import signal
import threading
from collections.abc import Iterator

import pytest

from sidecar.runtime import signals
from tests.support.waiting import eventually

ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def handlers_as_they_were() -> Iterator[None]:
    """As of a process that has just begun, whatever a test before did to this one."""
    before = {number: signal.getsignal(number) for number in ALL}
    for number in ALL:
        signal.signal(number, lambda *_: None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    """To the main thread: another thread, which a test before has left, would take it while the main thread blocks it."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_process_that_is_told_to_go_hears_it_each_time(number: signal.Signals) -> None:
    heard: list[int] = []
    signals.heed(lambda: heard.append(1))
    for count in (1, 2):
        send(number)
        await asyncio.sleep(0)
        assert len(heard) == count


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
async def test_what_would_kill_by_accident_is_logged_and_ignored(
    number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    stopped: list[int] = []
    signals.begin()
    send(number)  # waits until the process can say so
    assert not caplog.records
    signals.heed(lambda: stopped.append(1))
    await eventually(lambda: bool(caplog.records))
    (record,) = caplog.records
    assert (record.msg, record.__dict__["signal"], stopped) == ("signal_ignored", number.name, [])
    assert ("detail" in record.__dict__) is (number in (signal.SIGHUP, signal.SIGUSR2))


async def test_what_a_process_has_a_use_for_is_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []
    signals.heed(lambda: None, reload=lambda: asked.append("reload"), drain=lambda: asked.append("drain"))
    send(signal.SIGHUP)
    send(signal.SIGUSR2)
    await eventually(lambda: len(asked) == 2)
    assert asked == ["reload", "drain"]
    assert not caplog.records


async def test_what_is_ignored_from_the_start_stays_so() -> None:
    """That is what `nohup` does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.heed(lambda: None)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_before_it_serves_a_process_leaves_at_once() -> None:
    signals.begin()
    with pytest.raises(SystemExit) as caught:
        send(signal.SIGTERM)
    assert caught.value.code == 0


def test_a_child_inherits_that_signals_wait() -> None:
    with signals.withheld():
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert {signal.SIGINT, signal.SIGHUP} <= blocked
        assert signal.SIGTERM not in blocked
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_nothing_kills_a_process_on_its_last_steps() -> None:
    signals.end()
    for number in ALL:
        send(number)
