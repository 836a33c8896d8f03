"""Bytes both ways after an upgrade was answered 101 (RFC 9110 section 7.8).

Rules:
- Each side is read no faster than the other takes it; the end of one side's bytes is passed on, and when both have ended, or
  one is lost, so is the tunnel.
- It ends when nothing was said for too long, when its token ends, and when the worker goes away. A WebSocket is told why
  by a close frame (RFC 6455 section 5.5.1), between two frames; whatever else it carries is cut.
- To a side whose end was passed on nothing more can be said: it ends with the connection.
"""

import os
import struct
from typing import Final, Protocol

from sidecar.core.reasons import Reason
from sidecar.proxy.ports import ClientLink, UpstreamLink

POLICY_VIOLATION: Final = 1008
GOING_AWAY: Final = 1001
_TO_END: Final = 2.0  # seconds for the frame that is on its way when the end comes


class Frames:
    """Finds where frames end in one direction of a WebSocket (RFC 6455 section 5.2), whatever extensions do within."""

    __slots__ = ("_header", "_left")

    def __init__(self) -> None:
        self._header = b""
        self._left = 0

    @property
    def between(self) -> bool:
        """Whether the bytes so far end with a frame."""
        return not self._left and not self._header

    def take(self, data: bytes) -> int:
        """Go on by `data`; the offset of the first end of a frame in it, or -1."""
        position, first = 0, -1
        while position < len(data):
            if not self._left:
                header = self._header + data[position : position + 14 - len(self._header)]
                size = _header_size(header)
                if size > len(header):
                    self._header = header
                    return first
                position += size - len(self._header)
                self._header = b""
                self._left = _payload_size(header)
            step = min(self._left, len(data) - position)
            position += step
            self._left -= step
            if not self._left and first < 0:
                first = position
        return first


def _header_size(header: bytes) -> int:
    if len(header) < 2:
        return 2
    length = header[1] & 0x7F
    extended = 8 if length == 127 else 2 if length == 126 else 0
    return 2 + extended + (4 if header[1] & 0x80 else 0)


def _payload_size(header: bytes) -> int:
    length = header[1] & 0x7F
    if length < 126:
        return length
    return int.from_bytes(header[2:4] if length == 126 else header[2:10])


def close_frame(code: int, text: str, *, masked: bool) -> bytes:
    """A whole close frame; `masked` for the direction of the server. `text` is short ASCII."""
    payload = struct.pack(">H", code) + text.encode("ascii")
    if not masked:
        return bytes([0x88, len(payload)]) + payload
    mask = os.urandom(4)
    hidden = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([0x88, 0x80 | len(payload)]) + mask + hidden


class TunnelOwner(Protocol):
    """The exchange that became a tunnel."""

    def tunnel_ended(self) -> None:
        """The tunnel is over; it has closed both sides."""


class Tunnel:
    """One tunnel. `idle` in seconds, `now` and `moment` monotonic."""

    def __init__(
        self,
        exchange: TunnelOwner,
        client: ClientLink,
        upstream: UpstreamLink,
        *,
        websocket: bool,
        idle: float,
        now: float,
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._upstream = upstream
        self._down = Frames() if websocket else None
        self._up = Frames() if websocket else None
        self._idle = idle
        self._active_at = now
        self._last = b""  # the close frame that the client is still owed
        self._ends_by = 0.0
        self._client_ended = False  # it has said all, and the upstream was told so
        self._upstream_ended = False  # and the other way round
        self.over = False

    def __repr__(self) -> str:
        return f"<Tunnel {'websocket' if self._down else 'raw'}{' over' if self.over else ''}>"

    # Bytes.

    def from_client(self, data: bytes) -> None:
        """What the client said."""
        if self._last or self.over:
            return
        self._active_at = self._client.active_at
        if self._up is not None:
            self._up.take(data)
        self._upstream.write(data)

    def from_upstream(self, data: bytes, now: float) -> None:
        """What the upstream said."""
        if self.over:
            return
        self._active_at = now
        end = self._down.take(data) if self._down is not None else -1
        if self._last and end >= 0:
            self._client.write(data[:end])
            self._send_refusal_and_close()
        else:
            self._client.write(data)

    def upstream_full(self, *, full: bool) -> None:
        """The upstream takes no more for now, or does again."""
        if full:
            self._client.pause_reading()
        else:
            self._client.resume_reading()

    # Ends.

    def client_ended(self) -> bool:
        """The client will say no more; whether its side stays open for the answer."""
        self._client_ended = True
        return self._half_closed() and self._upstream.end_writing()

    def upstream_ended(self) -> bool:
        """The upstream will say no more; whether its side stays open for the answer."""
        self._upstream_ended = True
        return self._half_closed() and self._client.end_writing()

    def _half_closed(self) -> bool:
        if not (self._client_ended and self._upstream_ended) and not self._last:
            return True
        self.finish()
        return False

    def finish(self) -> None:
        """One side is gone, or both have said all: what was taken is still delivered, and the tunnel is over."""
        if not self.over:
            self.over = True
            self._upstream.close()
            self._client.close()
            self._exchange.tunnel_ended()

    def end(self, code: int, text: str, now: float) -> None:
        """Make an end of it, and tell a WebSocket why."""
        if self.over or self._last:
            return
        if self._down is None or self._up is None:
            self._cut()
            return
        self._last = close_frame(code, text, masked=False)
        self._ends_by = now + _TO_END
        if self._up.between and not self._client_ended:
            self._upstream.write(close_frame(code, text, masked=True))
        if self._upstream_ended:
            self.finish()  # the client was told that nothing more comes
        elif self._down.between:
            self._send_refusal_and_close()

    def _send_refusal_and_close(self) -> None:
        self.over = True
        self._upstream.close()
        self._client.write(self._last)
        if self._client_ended:
            self._client.close()
        else:
            self._client.close_lingering()
        self._exchange.tunnel_ended()

    def _cut(self) -> None:
        self.over = True
        self._upstream.abort()
        self._client.abort()
        self._exchange.tunnel_ended()

    def end_early(self, reason: Reason, now: float) -> None:
        """The token has ended."""
        self.end(POLICY_VIOLATION, f"token {reason.word}", now)

    def leave(self, now: float) -> None:
        """The worker is going away. A WebSocket never ends by itself, so it is told now; its client connects elsewhere."""
        if self._down is not None:
            self.end(GOING_AWAY, "going away", now)

    def check(self, now: float) -> None:
        """Called about once a second."""
        if (self._last and now > self._ends_by) or now - self._active_at > self._idle:
            self._cut()
