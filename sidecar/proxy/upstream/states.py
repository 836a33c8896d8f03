"""The states of an upstream connection and the transitions between them.

- *connecting* no transport yet, or its TLS handshake is in progress
- *idle*       it carries no exchange, and can carry one
- *asked*      the head of a request was written; no byte of the response has arrived
- *head*       part of the response has arrived, but not the whole head of the final response
- *body*       the head of the final response was forwarded
- *tunnel*     after 101
- *closing*    it carries no further exchange: it delivers what was written, or shuts down TLS
- *closed*     the connection is gone

Whether reading is paused is not a state: the client may stop accepting bytes in any of them.
"""

from collections.abc import Mapping, Set
from enum import Enum
from typing import Final


class State(Enum):
    """See the module's docstring."""

    __hash__ = object.__hash__  # the hash of an enumeration is a Python function, and each change of state looks it up

    CONNECTING = "connecting"
    IDLE = "idle"
    ASKED = "asked"
    HEAD = "head"
    BODY = "body"
    TUNNEL = "tunnel"
    CLOSING = "closing"
    CLOSED = "closed"


TRANSITIONS: Final[Mapping[State, Set[State]]] = {
    State.CONNECTING: {State.IDLE, State.CLOSED},
    State.IDLE: {State.ASKED, State.CLOSING, State.CLOSED},
    State.ASKED: {State.IDLE, State.HEAD, State.CLOSING, State.CLOSED},
    State.HEAD: {State.IDLE, State.BODY, State.TUNNEL, State.CLOSING, State.CLOSED},
    State.BODY: {State.IDLE, State.CLOSING, State.CLOSED},
    State.TUNNEL: {State.CLOSING, State.CLOSED},
    State.CLOSING: {State.CLOSING, State.CLOSED},
    State.CLOSED: set(),
}
"""The states that may follow each state. When a response has a known head, *asked* goes straight to *idle*."""

CARRYING: Final = frozenset([State.ASKED, State.HEAD, State.BODY, State.TUNNEL])
"""The connection carries an exchange, or the rest of one."""
