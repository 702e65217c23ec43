"""Import path of TornadIO 0.0.5 for the WebSocket handlers, now in :mod:`tornadio.transports.websocket`."""

from tornadio.transports.websocket import FlashSocketHandler, WebSocketHandler

__all__ = ["FlashSocketHandler", "WebSocketHandler"]
