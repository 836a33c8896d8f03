"""All looks at once, each within a time limit."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from sidecar.config.settings import Settings
from sidecar.doctor import certificates, configuration, listeners, machine, store, upstream
from sidecar.doctor.findings import Finding, bad

LIMIT: Final = 5.0  # seconds for each look
_ENDED_WITHIN: Final = 0.5  # seconds for what is left of a look, such as a question to a name server

Look = tuple[str, Coroutine[Any, Any, Iterable[Finding]]]


def looks(settings: Settings, *, now: float, files: Iterable[Path], patience: float) -> list[Look]:
    """The looks with their names, in the order of the report. `files` are referenced by the configuration; a look that waits
    for another machine waits `patience` seconds at most."""
    return [
        ("configuration", _at_once(lambda: configuration.look(settings, now, files))),
        *(
            (f"upstream {url}", upstream.look(settings, url, now=now, patience=patience))
            for url in settings.upstream.url
        ),
        ("TLS", _at_once(lambda: certificates.look(settings, now))),
        ("store", store.look(settings, now=now, patience=patience)),
        ("listeners", listeners.look(settings, patience=patience)),
        ("signing keys", _at_once(lambda: configuration.look_at_keys(settings, now))),
        ("machine", _at_once(lambda: machine.look(settings, now))),
    ]


async def _at_once(look: Callable[[], Iterable[Finding]]) -> Iterable[Finding]:
    return list(await asyncio.to_thread(look))  # files may be on a disk that does not answer


async def examine(given: Sequence[Look], limit: float) -> list[Finding]:
    """Run all looks, each for at most `limit` seconds, and return what they found, in their order."""
    results = await asyncio.gather(*(_within(limit, name, look) for name, look in given))
    return [finding for result in results for finding in result]


async def _within(limit: float, name: str, look: Coroutine[Any, Any, Iterable[Finding]]) -> Iterable[Finding]:
    try:
        async with asyncio.timeout(limit):
            return await look
    except TimeoutError:
        return [
            bad(name, f"no result within {limit:g} s", "see why it does not answer: a firewall, a name server, a disk")
        ]
    except Exception as exc:  # noqa: BLE001  a defect of one look must not hide what the others found
        return [bad(name, f"the doctor itself failed ({type(exc).__name__})", "please report this defect")]


def examine_all(
    settings: Settings, *, now: float, files: Iterable[Path], limit: float = LIMIT
) -> tuple[list[Finding], bool]:
    """Look at everything, in a thread of its own. Returns the findings, and whether something was left that cannot be
    interrupted, such as a question to a name server that does not answer: then the process has to be ended by `end`."""
    found: list[Finding] = []
    done = threading.Event()

    def run() -> None:
        async def main() -> None:
            found.extend(await examine(looks(settings, now=now, files=files, patience=0.7 * limit), limit))
            done.set()

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        finally:
            done.set()

    thread = threading.Thread(target=run, name="doctor", daemon=True)
    thread.start()
    done.wait()
    thread.join(_ENDED_WITHIN)
    return found, thread.is_alive()


def end(code: int) -> None:
    """End the process at once, whatever hangs. The caller has flushed what it printed."""
    os._exit(code)
