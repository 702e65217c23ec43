"""The interface of all framers."""

from collections.abc import Callable
from typing import Protocol

from tornadio.closecodes import Cause
from tornadio.errors import ProtocolError, TooLargeError


class Framer(Protocol):
    """One side of a connection after its handshake: bytes in, messages and bytes out. It does no I/O.

    :ivar error: why the connection failed, once it has.
    :ivar closed: whether no message will come any more, by an error or by the peer's close frame.
    :ivar peer_close: what the peer's close frame says, once it was received (RFC 6455, sections 7.1.5 and 7.1.6).
    :ivar has_more: whether :meth:`feed` has left frames for its next call, so that one peer's flood of frames does not
        hold up the others.
    :ivar has_data_to_send: whether :meth:`data_to_send` has something.
    """

    error: ProtocolError | None
    closed: bool
    peer_close: Cause | None
    has_more: bool
    has_data_to_send: bool

    def feed(self, data: bytes) -> list[str | bytes]:
        """Parse bytes from the peer. While :attr:`has_more` is true, call again, with or without new bytes.

        :returns: the messages that were completed, in order: ``str`` for text, ``bytes`` for binary. What the peer did
            wrong behind them is :attr:`error`.
        """

    def encode(self, message: str | bytes) -> bytes:
        """Return a frame that carries a message to the peer."""

    def data_to_send(self) -> bytes:
        """Return what the protocol has to send: pongs, the reply to a close frame; empty if there is nothing."""

    def close(self, code: int, reason: str) -> bytes:
        """Return the close frame, the last frame of this side; empty if it was sent before."""


class ServerFramer(Framer, Protocol):
    """The framer of a server, which may send one frame to many clients.

    :ivar is_encoding_shared: whether :attr:`encode_text` is a pure function, the same object for all connections that
        are sent the same frames.
    :ivar encode_text: returns a frame that carries a text, given as UTF-8, to the client.
    """

    @property
    def is_encoding_shared(self) -> bool: ...

    @property
    def encode_text(self) -> Callable[[bytes], bytes]: ...


def too_large(max_payload_size: int) -> TooLargeError:
    """Return the error for a WebSocket message of more bytes than it may have."""
    return TooLargeError(
        f"a WebSocket message of more than {max_payload_size} bytes (max_payload_size): send fewer messages at once"
    )
