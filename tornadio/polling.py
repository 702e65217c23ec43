"""Import path of TornadIO 0.0.5 for the handlers of the HTTP transports, now in :mod:`tornadio.transports`."""

from tornadio.transports.htmlfile import HTMLFileHandler
from tornadio.transports.multipart import XHRMultipartHandler
from tornadio.transports.polling import JSONPPollingHandler, XHRPollingHandler

__all__ = ["HTMLFileHandler", "JSONPPollingHandler", "XHRMultipartHandler", "XHRPollingHandler"]
