"""Doubles at the ports of the upstream's side: whom a response is given to, the pool, and a transport that goes nowhere."""

import socket
from collections.abc import Callable
from typing import Any

from sidecar.core.causes import Fault
from sidecar.core.http.response_headers import ResponseHeaders
from sidecar.proxy.limits import PoolLimits, UpstreamTimeouts
from sidecar.proxy.ports import UpstreamLink, WholeResponse
from sidecar.proxy.upstream.shapes import ResponseShapes
from tests.support import transport


class Tunnelled:
    """A tunnel that notes what comes."""

    def __init__(self) -> None:
        self.bytes = b""
        self.finished = False

    def from_upstream(self, data: bytes, now: float) -> None:
        self.bytes += data

    def finish(self) -> None:
        self.finished = True


class Asked:
    """The receiver of a response, which notes it: `told` are the calls in their order, `body` the bytes."""

    wanted = True
    sent_at = 0.0

    def __init__(self, **what: Any) -> None:
        self.head_request = self.resendable = self.expects_continue = self.sending = self.awaits_switch = False
        self.reusable = True
        self.upgrade = b""
        self.__dict__.update(what)
        self.told: list[str] = []
        self.fields: list[bytes] = []
        self.body = b""
        self.fault: Fault | None = None
        self.tunnel: Any = Tunnelled()

    def on_connected(self, connection: UpstreamLink) -> None:
        self.told.append("connected")

    def on_informational(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        self.told.append(f"informational {status}")

    def on_head(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        self.told.append(f"head {status} {reason.decode()}")
        self.fields = headers.pieces

    def on_switch(self, connection: UpstreamLink, reason: bytes, headers: ResponseHeaders) -> Any:
        self.told.append("switch")
        return self.tunnel

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_trailers(self, pieces: list[bytes]) -> None:
        self.told.append(f"trailers {b''.join(pieces).decode().strip()}")

    def on_whole(self, whole: WholeResponse, now: float) -> None:
        self.told.append("whole")
        self.body = whole[2]

    def stop_sending(self) -> None:
        self.told.append("stop sending")

    def on_complete(self, now: float) -> None:
        self.told.append("complete")

    def flush(self) -> None: ...

    def on_failure(self, fault: Fault) -> None:
        self.told.append("failure")
        self.fault = fault

    def may_reuse(self) -> bool:
        return self.reusable


class Pool:
    """Notes what becomes of its one connection in `fate`; the clock is `now`."""

    timeouts = UpstreamTimeouts(connect=1, response=10, stream=20)
    limits = PoolLimits(10, 4.0, 100.0)

    def __init__(self, host: bytes = b"", loop: Any = None) -> None:
        self.hosts = ((host, ""),)
        self.loop: Any = loop
        self.shapes = ResponseShapes(4.0)
        self.fate: list[str] = []
        self.resent: list[bytes] = []
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def resend(self, receiver: object, request: bytes) -> None:
        self.fate.append("resend")
        self.resent.append(request)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.fate.append(name)


class Pipe(transport.Pipe):
    """A transport whose socket is one end of a pair; its `peer` may write."""

    def __init__(self) -> None:
        mine, self.peer = socket.socketpair()
        mine.setblocking(False)
        super().__init__(socket=mine)

    def release(self) -> None:
        """Give the sockets back."""
        self.get_extra_info("socket").close()
        self.peer.close()
