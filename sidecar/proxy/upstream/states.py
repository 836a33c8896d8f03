"""What an upstream connection is doing, and what it may do next.

- *connecting* no transport yet, or its TLS handshake goes on
- *idle*       it carries no exchange, and can carry one
- *asked*      the head of a request was written; no byte of the answer came
- *head*       a part of the answer came, and not yet the head of the final response
- *body*       the head of the final response was passed on
- *tunnel*     after 101
- *closing*    it carries nothing more: it delivers what was written, or says goodbye in TLS
- *closed*     the connection is gone

Whether the connection is read from is no state: in each of them the client may take no more.
"""

from collections.abc import Mapping, Set
from enum import Enum
from typing import Final


class State(Enum):
    """See above."""

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
"""What may follow each state. A connection whose answer has a known head goes from *asked* to *idle* at once."""

CARRYING: Final = frozenset([State.ASKED, State.HEAD, State.BODY, State.TUNNEL])
"""The connection carries an exchange, or the rest of one."""
