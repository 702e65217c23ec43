"""Import path of TornadIO 0.0.5 for the Flash policy server, now in :mod:`tornadio.web.flash`."""

from tornadio.web.flash import FlashPolicyServer

__all__ = ["FlashPolicyServer"]
