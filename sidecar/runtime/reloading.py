"""Takes a new configuration while the process serves.

The file is read again on SIGHUP, on `POST /reload` of the admin listener, and when the file or a file that it refers to
changes. It is read and checked as a whole first. A file with faults changes nothing: the process continues with the last good
configuration. What is applied is applied in one step (`assembly.app.App.use`), in all workers or in none.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from sidecar.assembly.app import log_failure
from sidecar.config.changes import compare
from sidecar.config.document import referenced_files
from sidecar.config.load import SettingsError, load
from sidecar.config.settings import Settings
from sidecar.ops.catalogue import ReloadResult
from sidecar.ops.deployment import Configuration

log: Final = logging.getLogger("sidecar")

_LOOK_EVERY: Final = 1.0  # seconds between two looks at the files
_SETTLED_AFTER: Final = 0.2  # seconds without a change, after which a change counts as complete
_TOLD_FOR: Final = 5.0  # seconds in which whoever asks is told what was taken up just before
_MOST_LOOKS: Final = 25  # at files that change all the time

Stamp = tuple[tuple[str, tuple[int, ...]], ...]


class NotApplied(Exception):
    """The settings are valid, but cannot be applied here. The message says why. Nothing has changed."""


class Reloaded(NamedTuple):
    """What a reload did. `faults`: the reasons why it changed nothing. `applied` and `at_restart` name what differs from the
    settings before: what is in force now, and what needs a restart."""

    faults: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    at_restart: tuple[str, ...] = ()


class Reloader:
    """Keeps the settings of a process as current as their file. `apply` applies settings, and raises `NotApplied` when it
    cannot. `clock` gives epoch seconds. Create it in the event loop."""

    def __init__(
        self,
        settings: Settings,
        apply: Callable[[Settings], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.configuration = Configuration(successful=True, at=clock(), digest=settings.digest)
        self.last: tuple[float, Reloaded] | None = None  # when the file was last read again, and what came of it
        self._taken: tuple[float, Reloaded] | None = (
            None  # what was taken up without being asked, and nobody was told yet
        )
        self._apply = apply
        self._clock = clock
        self._turn = asyncio.Lock()
        self._seen: Stamp | None = None
        self._document: tuple[int, ...] | None = None  # the identity of the document whose references these are
        self._references: list[Path] = []
        self._asked: set[asyncio.Task[Reloaded]] = set()

    def __repr__(self) -> str:
        return f"<Reloader {self.configuration}>"

    def soon(self) -> None:
        """Reload, without waiting for the result, unless a reload is due anyway."""
        if len(self._asked) > 1:
            return  # one runs, and another one follows, which will see the file as it is now
        task = asyncio.get_running_loop().create_task(self.reload(), name="reload")
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def reload(self, *, quiet: bool = False) -> Reloaded:
        """Read the file again and apply it. With `quiet`, a file without changes leaves no line in the log.

        Otherwise somebody asked, perhaps just after the process had noticed the change by itself. Then the result is what it
        did.
        """
        async with self._turn:
            try:
                result = await self._reload()
            except Exception as exc:  # noqa: BLE001  a defect must not end the process, which has a good configuration
                log_failure("reload", exc)
                result = Reloaded(("the sidecar failed to apply it: see internal_error in its log",))
            self._note(result, quiet=quiet)
            return self._taken_up(result) if quiet else self._told(result)

    def _taken_up(self, result: Reloaded) -> Reloaded:
        if result.applied or result.at_restart:
            self._taken = (self._clock(), result)
        return result

    def _told(self, result: Reloaded) -> Reloaded:
        taken, self._taken = self._taken, None
        recent = taken is not None and self._clock() - taken[0] < _TOLD_FOR
        return taken[1] if taken is not None and recent and result == Reloaded() else result

    async def _reload(self) -> Reloaded:
        path = self.settings.path
        if path is None:
            return Reloaded(("the configuration did not come from a file",))
        if path.exists() and not path.is_file():
            return Reloaded((f"{path}: is a pipe or a device, which cannot be read again",))
        self._seen = await asyncio.to_thread(self._look, path)  # first: a change during the reload leads to another one
        try:
            settings = await asyncio.to_thread(load, path, now=self._clock())
        except SettingsError as exc:
            return Reloaded(tuple(map(str, exc.faults)))
        changes = compare(self.settings, settings)
        if changes.applied:
            try:
                await self._apply(changes.settings)
            except NotApplied as exc:
                return Reloaded((str(exc),))
        self.settings = changes.settings
        return Reloaded((), changes.applied, changes.at_restart)

    def _note(self, result: Reloaded, *, quiet: bool) -> None:
        self.last = (self._clock(), result)
        if result.faults:
            self.configuration = self.configuration._replace(successful=False, reloads=self._counted("rejected"))
            text = "the sidecar continues with the configuration that it has"
            log.error("config_rejected", extra={"faults": list(result.faults), "detail": text})
            return
        counted = self._counted("applied" if result.applied else "unchanged")
        self.configuration = Configuration(True, self._clock(), self.settings.digest, counted)  # noqa: FBT003  its first field
        if result.applied or result.at_restart:
            fields = {"changed": list(result.applied), "needs_restart": list(result.at_restart)}
            log.log(logging.WARNING if result.at_restart else logging.INFO, "config_reloaded", extra=fields)
        elif not quiet:
            log.info("config_unchanged")

    def _counted(self, result: ReloadResult) -> dict[ReloadResult, int]:
        """The counts of reloads, with one more of this result."""
        counts = dict(self.configuration.reloads)
        return {**counts, result: counts.get(result, 0) + 1}

    async def watch(self) -> None:
        """Reload whenever a file has changed. Runs until cancelled."""
        path = self.settings.path
        if path is None:
            return
        while True:
            try:
                await self._watch_once(path)
            except Exception as exc:  # noqa: BLE001  as in `reload`
                log_failure("config watch", exc)
            await asyncio.sleep(_LOOK_EVERY)

    async def _watch_once(self, path: Path) -> None:
        stamp = await asyncio.to_thread(self._look, path)
        if self._seen is None:
            self._seen = stamp
        if stamp == self._seen:
            return
        for _ in range(_MOST_LOOKS):  # an editor writes a file in several steps
            await asyncio.sleep(_SETTLED_AFTER)
            before, stamp = stamp, await asyncio.to_thread(self._look, path)
            if stamp == before:
                break
        await self.reload(quiet=True)

    def _look(self, path: Path) -> Stamp:
        """The identity of each file, with links resolved: Kubernetes changes files by moving a symlink."""
        document = _identity(path)
        if document != self._document:
            self._document, self._references = document, referenced_files(path)
        templates = self.settings.login.templates_dir
        pages = sorted(templates.iterdir()) if templates is not None and templates.is_dir() else []
        return ((str(path), document), *((str(file), _identity(file)) for file in (*self._references, *pages)))


def _identity(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except (OSError, ValueError):  # ValueError for a name with a null character
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
