"""The half of a client connection that keeps times, and acts when its client is too slow. `deadlines` decides."""

import asyncio
from typing import Any, Final

from sidecar.core.http.plain_heads import HeaderSection
from sidecar.core.reasons import Reason
from sidecar.proxy.client.deadlines import LINGER, Situation, Verdict, judge
from sidecar.proxy.client.reader import RequestReader
from sidecar.proxy.client.sending import SendingSide
from sidecar.proxy.client.states import State
from sidecar.proxy.client.unreadable import Unreadable
from sidecar.proxy.ports import ConnectionManager, RequestInProgress, TunnelEnd

_FORGET: Final = 5.0  # seconds


class TimedSide(SendingSide):
    """Has the times of a connection, in monotonic seconds."""

    __slots__ = ("_eof_at", "_head_since", "_moved_at", "_undelivered", "_until", "active_at", "section")

    exchange: RequestInProgress | None
    manager: ConnectionManager[Any]
    reader: RequestReader
    section: HeaderSection | None
    state: State
    tunnel: TunnelEnd | None
    active_at: float  # when the client last sent something
    _eof_at: float  # when it closed its side
    _head_since: float  # since when a head has been awaited; 0 after a request, until the next one begins
    _moved_at: float  # when `_undelivered` last changed
    _undelivered: int  # bytes
    _until: float  # when emptying or lingering ends

    def _begin_times(self, now: float) -> None:
        self.active_at = self._head_since = now
        self._eof_at = self._moved_at = self._until = 0.0
        self._undelivered = 0

    def close_lingering(self) -> None:
        """Close in a way that delivers the last response even if the client is still sending."""
        raise NotImplementedError

    def _broken(self, reason: Reason) -> None:
        """Nothing after this point of the stream can be parsed, or is awaited."""
        raise NotImplementedError

    def _unsent(self, transport: asyncio.Transport) -> int:
        return self.unsent(transport, exactly=self.state is State.LINGERING or self.manager.draining)

    def check(self, now: float) -> None:
        """Close the connection of a client that is too slow."""
        transport = self.transport
        if transport is None:
            return
        if self.tunnel is not None:
            self.tunnel.check(now)
            return
        unsent = self._unsent(transport)
        if unsent != self._undelivered:
            self._undelivered, self._moved_at = unsent, now
        if self.section is not None and self.exchange is None and now - self.active_at > _FORGET:
            self.section = None  # thousands of connections may be idle
        self.reader.use(self.manager.limits)
        verdict = judge(self._situation(), self.manager.timeouts, now)
        if verdict is not Verdict.NOTHING:
            self._act(verdict, transport, now)

    def _situation(self) -> Situation:
        reader, exchange = self.reader, self.exchange
        return Situation(
            self.state,
            unsent=self._undelivered,
            moved_at=self._moved_at,
            active_at=self.active_at,
            head_since=self._head_since,
            head_begun=reader.head_bytes > 0,
            until=self._until,
            asked_at=max(self._eof_at, exchange.started) if exchange is not None else 0.0,
            answer_begun=exchange is not None and exchange.answer_begun,
            body_due=reader.receiving and not self._reading_paused,
        )

    def _act(self, verdict: Verdict, transport: asyncio.Transport, now: float) -> None:
        if verdict is Verdict.ANSWER_408:
            self._broken(Reason.REQUEST_TIMEOUT)
        elif verdict is Verdict.GIVE_UP_408:
            self.reader.fault = Unreadable(Reason.REQUEST_TIMEOUT)
            if self.exchange is not None:
                self.exchange.cancel(Reason.REQUEST_TIMEOUT)
        elif verdict is Verdict.LINGER_ANEW:
            self._until = now + LINGER
        elif verdict is Verdict.LINGER:
            self.close_lingering()
        elif verdict is Verdict.CLOSE:
            transport.close()
        else:
            self.abort(reset=verdict is Verdict.RESET)
