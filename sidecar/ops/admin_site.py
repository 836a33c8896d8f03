"""Accepts the connections of the admin listener.

aiohttp limits neither their number nor the time for the head of a request. A single worker serves the public listener with the
same file descriptors, so whoever reaches the admin listener and says nothing there could end the service. Beyond `MOST`
connections each new one takes the place of the oldest: a probe or a scrape is over before its turn comes.
"""

import asyncio
from typing import Final

from aiohttp import web

MOST: Final = 128


class AdminSite(web.SockSite):
    """A site whose connections are limited."""

    __slots__ = ()

    async def start(self) -> None:
        """Begin to accept."""
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None  # noqa: S101  the runner is set up

        def accept() -> asyncio.BaseProtocol:
            _make_room(server)
            return server()

        self._server = await asyncio.get_running_loop().create_server(accept, sock=self._sock, backlog=self._backlog)


def _make_room(server: web.Server) -> None:
    """Close the oldest connections beyond the limit. Those that are accepted in the same moment are counted by the next one."""
    transports = [each.transport for each in server.connections]
    open_ones = [each for each in transports if each is not None and not each.is_closing()]
    for transport in open_ones[: max(0, len(open_ones) - MOST + 1)]:
        transport.abort()
