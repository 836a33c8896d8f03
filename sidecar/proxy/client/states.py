"""The states of a client connection and the transitions between them.

- *arriving*  accepted; its TLS handshake or the PROXY protocol header is in progress
- *idle*      no byte of a request has arrived
- *head*      part of a request head has arrived
- *busy*      an exchange is in progress
- *half-closed* an exchange whose client sends no more, but may wait for the response. Most clients that close their side
              have left.
- *emptying*  the response was sent before a small body had arrived; the rest of the body is read and dropped
- *tunnel*    after 101
- *lingering* the last response was sent; further input is dropped. Closing at once would make the kernel reset the
              connection, and the client could lose the response (RFC 9112 section 9.6).
- *closed*    the connection is gone
"""

from collections.abc import Mapping, Set
from enum import Enum
from typing import Final


class State(Enum):
    """See the module's docstring."""

    __hash__ = object.__hash__  # the hash of an enumeration is a Python function, and each change of state looks it up

    ARRIVING = "arriving"
    IDLE = "idle"
    HEAD = "head"
    BUSY = "busy"
    HALF_CLOSED = "half-closed"
    EMPTYING = "emptying"
    TUNNEL = "tunnel"
    LINGERING = "lingering"
    CLOSED = "closed"


class IllegalTransition(Exception):
    """A defect of the sidecar: a connection changed to a state that cannot follow its state."""


TRANSITIONS: Final[Mapping[State, Set[State]]] = {
    State.ARRIVING: {State.IDLE, State.CLOSED},
    State.IDLE: {State.IDLE, State.HEAD, State.BUSY, State.HALF_CLOSED, State.LINGERING, State.CLOSED},
    State.HEAD: {State.IDLE, State.HEAD, State.BUSY, State.HALF_CLOSED, State.LINGERING, State.CLOSED},
    State.BUSY: {State.IDLE, State.HALF_CLOSED, State.EMPTYING, State.TUNNEL, State.LINGERING, State.CLOSED},
    State.HALF_CLOSED: {State.IDLE, State.EMPTYING, State.TUNNEL, State.LINGERING, State.CLOSED},
    State.EMPTYING: {State.IDLE, State.LINGERING, State.CLOSED},
    State.TUNNEL: {State.LINGERING, State.CLOSED},
    State.LINGERING: {State.LINGERING, State.CLOSED},
    State.CLOSED: set(),
}
"""The states that may follow each state. An idle connection goes straight to *busy* when a whole head arrives at once."""
