"""What a client connection is doing, and what it may do next.

- *arriving*  accepted, and its handshake or the words of a trusted proxy go on
- *idle*      no byte of a request
- *head*      part of a request head
- *busy*      an exchange
- *half-closed* an exchange whose client will send no more, but may wait for the answer. Most clients that close their side
              have left.
- *emptying*  the answer was given before a small body had come
- *tunnel*    after 101
- *lingering* our last word was said, what still comes is dropped. Closing at once would make the kernel reset the connection,
              and the client could lose the answer (RFC 9112 section 9.6).
- *closed*    the connection is gone
"""

from collections.abc import Mapping, Set
from enum import Enum
from typing import Final


class State(Enum):
    """See above."""

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
    """A defect of ours: a connection went from one state to another that cannot follow it."""


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
"""What may follow each state. A connection that is idle begins its request at once when the head comes whole."""
