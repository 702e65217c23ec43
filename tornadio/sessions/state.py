"""The states of a session, and the allowed transitions between them."""

import enum
from typing import Final


class State(enum.Enum):
    """The state of a session. A session may skip states, but never goes back."""

    OPENING = "opening"  # on_open has not returned yet
    OPEN = "open"
    CLOSING = "closing"  # nothing new is queued or handled; what is queued is still delivered
    CLOSED = "closed"  # nothing is queued and there is no channel; on_close may still have to run

    __hash__ = object.__hash__  # members are singletons, and Enum's own is a function in Python


TRANSITIONS: Final = {
    State.OPENING: frozenset({State.OPEN, State.CLOSING, State.CLOSED}),
    State.OPEN: frozenset({State.CLOSING, State.CLOSED}),
    State.CLOSING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset[State](),
}
ENDED: Final = frozenset({State.CLOSING, State.CLOSED})
