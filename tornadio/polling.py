"""Import path of TornadIO 0.0.5 for the handlers of the HTTP transports; they live in :mod:`tornadio.transports`."""

from tornadio.transports.polling import JSONPPollingHandler, XHRPollingHandler
from tornadio.transports.streaming import HTMLFileHandler, XHRMultipartHandler

__all__ = ["HTMLFileHandler", "JSONPPollingHandler", "XHRMultipartHandler", "XHRPollingHandler"]
