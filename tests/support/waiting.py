"""Waiting for a condition: as short as the machine allows, and with an end."""

import asyncio
import time
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], *, within: float = 10) -> None:
    """Return as soon as the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not in {within} s: {condition}"
        await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], bool], *, within: float = 10) -> None:
    """`eventually`, for a test that is no coroutine."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not in {within} s: {condition}"
        time.sleep(0.01)
