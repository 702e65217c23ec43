"""The interface of all framers, and the close codes of RFC 6455."""

from typing import Final, Protocol

from tornadio.errors import ProtocolError

# RFC 6455, section 7.4.1, and the registry that section 11.7 has opened (1012 to 1014 are of later years). Those that
# must not travel in a frame (1004 to 1006, 1015) are left out.
CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
# Codes from here on are those of libraries and applications (section 7.4.2).
PRIVATE_CLOSE_CODES: Final = range(3000, 5000)


class Framer(Protocol):
    """One server-side connection after its handshake: bytes in, messages and bytes out. It does no I/O.

    :ivar error: why the connection failed, once it has.
    :ivar closed: whether no message will come any more, by an error or by the peer's close frame.
    :ivar has_more: whether :meth:`feed` has left frames for its next call, so that one peer's flood of frames does not
        hold up the others.
    :ivar has_data_to_send: whether :meth:`data_to_send` has something.
    """

    error: ProtocolError | None
    closed: bool
    has_more: bool
    has_data_to_send: bool

    def feed(self, data: bytes) -> list[str | bytes]:
        """Parse bytes from the peer. While :attr:`has_more` is true, call again, with or without new bytes.

        :returns: the messages that were completed, in order: ``str`` for text, ``bytes`` for binary. What the peer did
            wrong behind them is :attr:`error`.
        """

    def data_to_send(self) -> bytes:
        """Return what the protocol has to send: pongs, the reply to a close frame; empty if there is nothing."""

    def encode(self, message: str | bytes) -> bytes:
        """Return a frame that carries ``message`` to the peer."""

    def close(self, code: int, reason: str) -> bytes:
        """Return the close frame, the last frame of this side; empty if it was sent before."""
