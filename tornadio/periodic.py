"""Import path of TornadIO 0.0.5 for the timers, now in :mod:`tornadio.net.timers`."""

from tornadio.net.timers import Deadlines, Periodic

__all__ = ["Deadlines", "Periodic"]
