"""Import path of TornadIO 0.0.5 for the polling session, now in :mod:`tornadio.sessions.polling`."""

from tornadio.sessions.polling import PollingSession

__all__ = ["PollingSession"]
