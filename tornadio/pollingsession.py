"""Import path of TornadIO 0.0.5 for the polling session; it lives in :mod:`tornadio.sessions.polling`."""

from tornadio.sessions.polling import PollingSession

__all__ = ["PollingSession"]
