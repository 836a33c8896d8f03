"""The half of a client connection that knows how much memory it holds, and gives it up when there is too little."""

from typing import Final

from sidecar.core.reasons import Reason
from sidecar.proxy.client import weights
from sidecar.proxy.client.states import State
from sidecar.proxy.client.timed import TimedSide

_ENCRYPTED: Final = 1.5  # for each byte of the largest read or write over TLS, so much of the buffers stays in use
_NOTABLE: Final = 32 * 1024  # bytes of it that the price of a connection includes


class HoldingSide(TimedSide):
    """Weighs what the connection holds: `held` is what the budget was told last, in bytes."""

    __slots__ = ("_of_admitted", "held")

    held: int
    _of_admitted: bool  # the response that its client does not read belongs to an admitted request

    def _begin_holding(self) -> None:
        self.held, self._of_admitted = 0, False

    @property
    def admitted(self) -> bool:
        """Whether what it holds belongs to a request with a valid token."""
        exchange = self.exchange
        return self._of_admitted if exchange is None else exchange.verified is not None

    def pause_writing(self) -> None:
        super().pause_writing()
        exchange = self.exchange
        self._of_admitted = exchange is not None and exchange.verified is not None
        self._loop.call_soon(self.grown)  # not within the write: this may end other exchanges

    def resume_writing(self) -> None:
        super().resume_writing()
        self.weigh()

    def note_plain(self, read: int) -> None:
        """A plain request was read that is large, or not complete. One with a valid token that is complete is not weighed now,
        but once a second."""
        exchange = self.exchange
        largest = self._beneath is not None and read > max(self._largest, _NOTABLE)
        if exchange is None:
            self.section = None  # of a stranger, who may have thousands of connections
        if largest or (exchange is not None and (exchange.verified is None or self.reader.finishing)):
            self.grown(read)

    def grown(self, read: int = 0) -> None:
        """More may be held now, after a read of so many bytes. Has others refused, or this client, when it is too much."""
        if self._beneath is not None and read > self._largest:
            self._largest = read
        before = self.held
        self.weigh()
        if self.held > before:
            self.manager.memory.relieve()

    def weigh(self) -> None:
        """Tell the budget what is held now."""
        size = self._weight()
        if size != self.held:
            self.manager.memory.hold(self, size)

    def _weight(self) -> int:
        transport = self.transport
        if transport is None or transport.is_closing():
            return 0
        reader, exchange = self.reader, self.exchange
        size = reader.weight + self.waiting(transport)
        if exchange is None:
            size += weights.of_body(reader.body, whole=False)
        else:
            whole = exchange.verified is None and not exchange.streaming
            size += weights.of_head(exchange.message) + weights.of_body(exchange.payload, whole=whole)
        return size + int(max(self._largest - _NOTABLE, 0) * _ENCRYPTED)

    def check(self, now: float) -> None:
        super().check(now)
        if self.held or self._undelivered or self._largest or self.exchange is not None:
            self.weigh()

    def give_up(self) -> None:
        """There is too little memory: refuse the request, or close, so that nothing is held."""
        exchange, transport = self.exchange, self.transport
        if transport is None or transport.is_closing():
            return
        if exchange is not None and self.tunnel is None and not exchange.ended:
            exchange.end_early(Reason.OVERLOADED)
        elif self.waiting(transport) or self.tunnel is not None or self.state is State.LINGERING:
            self.manager.report_unparsed(self, Reason.OVERLOADED)
            self.abort(reset=True)
        elif self.state is State.EMPTYING:
            self.close_lingering()
        elif self.reader.weight:
            self._broken(Reason.OVERLOADED)
        else:
            transport.close()
        self.weigh()
