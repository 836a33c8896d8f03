"""Copies bytes both ways after an upgrade was answered with 101 (RFC 9110 section 7.8).

Rules:
- Each side is read only as fast as the other accepts the bytes. The end of one side's bytes is passed on to the other. The
  tunnel ends when both sides have ended, or one connection is lost.
- It also ends when it was idle for too long, when its token ends, and when the worker shuts down. A WebSocket is told why by
  a close frame (RFC 6455 section 5.5.1), between two frames; any other protocol is cut.
- After the end was passed on to a side, nothing more can be sent to it: its connection is simply closed.
"""

import os
import struct
from typing import Final, Protocol

from sidecar.core.reasons import Reason
from sidecar.proxy.ports import ClientLink, UpstreamLink

POLICY_VIOLATION: Final = 1008
GOING_AWAY: Final = 1001
_TO_END: Final = 2.0  # seconds to wait for the end of the frame in transit


class Frames:
    """Finds the frame boundaries in one direction of a WebSocket (RFC 6455 section 5.2), independent of extensions."""

    __slots__ = ("_header", "_left")

    def __init__(self) -> None:
        self._header = b""
        self._left = 0

    @property
    def between(self) -> bool:
        """Whether the bytes so far end at a frame boundary."""
        return not self._left and not self._header

    def take(self, data: bytes) -> int:
        """Process `data`. Returns the offset of the first frame end in it, or -1."""
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
    """A whole close frame; `masked` for the direction to the server. `text` is short ASCII."""
    payload = struct.pack(">H", code) + text.encode("ascii")
    if not masked:
        return bytes([0x88, len(payload)]) + payload
    mask = os.urandom(4)
    hidden = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([0x88, 0x80 | len(payload)]) + mask + hidden


class TunnelOwner(Protocol):
    """The exchange that became a tunnel."""

    def tunnel_ended(self) -> None:
        """The tunnel has ended, and has closed both connections."""


class Tunnel:
    """One tunnel. `idle` is in seconds, `now` in monotonic seconds."""

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
        self._last = b""  # the close frame that is still due to the client
        self._ends_by = 0.0
        self._client_ended = False  # the client sends no more, and the upstream was told so
        self._upstream_ended = False  # the reverse
        self.over = False

    def __repr__(self) -> str:
        return f"<Tunnel {'websocket' if self._down else 'raw'}{' over' if self.over else ''}>"

    # Bytes.

    def from_client(self, data: bytes) -> None:
        """Forward bytes of the client."""
        if self._last or self.over:
            return
        self._active_at = self._client.active_at
        if self._up is not None:
            self._up.take(data)
        self._upstream.write(data)

    def from_upstream(self, data: bytes, now: float) -> None:
        """Forward bytes of the upstream."""
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
        """The upstream accepts no more for now, or accepts more again."""
        if full:
            self._client.pause_reading()
        else:
            self._client.resume_reading()

    # Ends.

    def client_ended(self) -> bool:
        """The client sends no more. Returns whether its connection stays open for the other direction."""
        self._client_ended = True
        return self._half_closed() and self._upstream.end_writing()

    def upstream_ended(self) -> bool:
        """The upstream sends no more. Returns whether its connection stays open for the other direction."""
        self._upstream_ended = True
        return self._half_closed() and self._client.end_writing()

    def _half_closed(self) -> bool:
        if not (self._client_ended and self._upstream_ended) and not self._last:
            return True
        self.finish()
        return False

    def finish(self) -> None:
        """One connection is gone, or both sides have ended: deliver what was already accepted, and end the tunnel."""
        if not self.over:
            self.over = True
            self._upstream.close()
            self._client.close()
            self._exchange.tunnel_ended()

    def end(self, code: int, text: str, now: float) -> None:
        """End the tunnel, and tell a WebSocket why."""
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
            self.finish()  # the client already saw the end of the stream
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
        """The worker is shutting down. A WebSocket never ends by itself, so it is closed now, and its client reconnects
        elsewhere."""
        if self._down is not None:
            self.end(GOING_AWAY, "going away", now)

    def check(self, now: float) -> None:
        """Called about once a second."""
        if (self._last and now > self._ends_by) or now - self._active_at > self._idle:
            self._cut()
