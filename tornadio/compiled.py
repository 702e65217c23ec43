"""Whether the modules on a message's or a request's way were compiled when the package was built."""

from importlib.machinery import ExtensionFileLoader
from typing import Final

from tornadio import framing

#: Whether the modules on a message's or a request's way are compiled, by ``TORNADIO_COMPILE=1 pip install .``.
is_compiled: Final[bool] = framing.__spec__ is not None and isinstance(framing.__spec__.loader, ExtensionFileLoader)
