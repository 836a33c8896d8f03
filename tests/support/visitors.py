"""Clients that keep asking while the sidecar goes away, and what became of each request."""

import asyncio
import contextlib
import re
from collections import Counter
from typing import Final

from tests.support.waiting import eventually

_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_PATIENCE: Final = 30.0


class Visitors:
    """So many clients of an address; each sends `request` again and again until nobody listens there.

    `fresh` make a connection for each request, `kept` keep theirs for as long as they may, with `pause` seconds between two
    requests. `outcomes` counts: `answered` is 200; `unheard` a request whose connection was not made; all else was lost.
    """

    def __init__(
        self, address: tuple[str, int], request: bytes, *, fresh: int = 0, kept: int = 0, pause: float = 0.0
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._address = address
        self._request = request
        self._pause = pause
        self._over = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._visit(keep=number < kept)) for number in range(fresh + kept)]

    def __repr__(self) -> str:
        return f"<Visitors {dict(self.outcomes)}>"

    @property
    def lost(self) -> dict[str, int]:
        """What became of the requests that were neither answered nor unheard."""
        return {what: count for what, count in self.outcomes.items() if what not in ("answered", "unheard")}

    async def answered(self, count: int) -> None:
        """Wait until so many requests were answered."""
        await eventually(lambda: self.outcomes["answered"] >= count, within=_PATIENCE)

    async def gone(self) -> None:
        """Wait until every one of them was refused."""
        await asyncio.wait_for(asyncio.gather(*self._tasks), _PATIENCE)

    async def stop(self) -> None:
        """Let each finish its request."""
        self._over.set()
        await self.gone()

    async def _visit(self, *, keep: bool) -> None:
        while not self._over.is_set():
            try:
                async with asyncio.timeout(_PATIENCE):
                    reader, writer = await asyncio.open_connection(*self._address)
            except (OSError, TimeoutError):
                self.outcomes["unheard"] += 1
                return
            kind = "kept" if keep else "fresh"
            try:
                await self._converse(reader, writer, kind, keep=keep)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str, *, keep: bool
    ) -> None:
        count = 0
        while not (self._over.is_set() or reader.at_eof() or writer.is_closing()):
            again = "again" if count else "first"
            try:
                writer.write(self._request)
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE)
                found = _LENGTH.search(head)
                await asyncio.wait_for(reader.readexactly(int(found[1]) if found else 0), _PATIENCE)
            except asyncio.IncompleteReadError as exc:
                self.outcomes[f"{kind} {again}: {'cut' if exc.partial else 'unanswered'}"] += 1
                return
            except (OSError, TimeoutError) as exc:
                self.outcomes[f"{kind} {again}: {type(exc).__name__}"] += 1
                return
            count += 1
            self.outcomes["answered" if head.startswith(b"HTTP/1.1 200") else head[:12].decode()] += 1
            if not keep or b"\r\nConnection: close" in head:
                return
            await asyncio.sleep(self._pause)
