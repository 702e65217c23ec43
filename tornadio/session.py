"""Import path of TornadIO 0.0.5 for the session classes, now in :mod:`tornadio.sessions`."""

from tornadio.sessions.base import BaseSession as Session
from tornadio.sessions.channel import Channel
from tornadio.sessions.registry import SessionRegistry as SessionContainer
from tornadio.sessions.state import State

__all__ = ["Channel", "Session", "SessionContainer", "State"]
