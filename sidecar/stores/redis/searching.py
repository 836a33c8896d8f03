"""Asks several servers the same at once."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from sidecar.core.ports import StoreUnavailable

T = TypeVar("T")


async def ask_all(
    work: Sequence[Coroutine[Any, Any, T]], enough: Callable[[list[T]], bool], patience: float
) -> tuple[list[T], list[StoreUnavailable]]:
    """Run all at once, and return the answers and the faults that came: as soon as there are `enough` answers, or `patience`
    seconds have passed and there is any answer, or all are done. What is not done then is cancelled."""
    loop = asyncio.get_running_loop()
    pending = {loop.create_task(each) for each in work}
    answers: list[T] = []
    faults: list[StoreUnavailable] = []
    deadline = loop.time() + patience
    try:
        while pending and not enough(answers):
            left = max(0.0, deadline - loop.time()) if answers else None
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            for task in done:
                try:
                    answers.append(task.result())
                except StoreUnavailable as exc:
                    faults.append(exc)
    finally:
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=1)
    return answers, faults
