"""WebSocket messages whose last byte was not received yet (RFC 6455, section 5.4), compressed or not."""

import codecs
import sys
from collections.abc import Callable
from typing import Final

from tornadio.errors import ProtocolError
from tornadio.websocket.deflate import Inflating
from tornadio.websocket.framer import too_large
from tornadio.websocket.frames import TEXT

# Of a text, pieces of at least so many characters are kept as ``str``, if that takes at most so many bytes of memory
# for each byte received.
_MIN_TEXT_PIECE: Final = 4096
_MAX_GROWTH: Final = 1.5
# Bytes by which compressing may make a message longer, besides a quarter of it: zlib promises less than a sixth.
_MAX_OVERHEAD: Final = 64


class FragmentedMessage:
    """A message whose last fragment was not received yet.

    Text is decoded as it is received, so that bad UTF-8 fails at its first byte. Small fragments are joined, since each
    ``str`` has some 50 bytes of its own; and text that takes far more memory as ``str`` than as UTF-8 is kept as UTF-8:
    with one emoji among them, ASCII characters take four bytes each.
    """

    __slots__ = ("_bytes", "_decoder", "_max_size", "_pieces", "_size")

    def __init__(self, opcode: int, max_size: int) -> None:
        self._size = 0
        self._max_size = max_size
        self._bytes = bytearray()  # behind the pieces
        self._pieces: list[str | bytes] = []  # of a text
        self._decoder = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None

    def start_fragment(self, size: int) -> None:
        """Count a fragment whose header says that it has ``size`` bytes.

        :raises TooLargeError: the message has too many by now.
        """
        self._size += size
        if self._size > self._max_size:
            raise too_large(self._max_size)

    def add(self, payload: bytes, final: bool = False) -> None:
        """Add the next bytes."""
        if self._decoder is None:
            self._bytes += payload
            return
        try:
            text = self._decoder.decode(payload, final)
        except UnicodeDecodeError:
            raise not_utf8() from None
        if len(text) < _MIN_TEXT_PIECE or sys.getsizeof(text) > _MAX_GROWTH * len(payload):
            self._bytes += text.encode("utf-8")
            return
        if self._bytes:
            self._pieces.append(bytes(self._bytes))
            self._bytes.clear()
        self._pieces.append(text)

    def finish(self) -> str | bytes:
        """Return the message, all bytes of which were added."""
        if self._decoder is None:
            return bytes(self._bytes)
        self.add(b"", final=True)
        texts = [piece if isinstance(piece, str) else piece.decode("utf-8") for piece in self._pieces]
        return "".join([*texts, self._bytes.decode("utf-8")])


class CompressedMessage:
    """A compressed message whose last fragment was not received yet, or that was not inflated to its end.

    It is inflated when it is whole: before, a thousandth of its bytes would make a peer's messages under way take all
    the memory that they may have, on as many connections as it likes.
    """

    __slots__ = ("_bytes", "_inflate", "_inflating", "_max_size", "_opcode", "_size")

    def __init__(self, opcode: int, max_size: int, inflate: Callable[[bytes, int], Inflating]) -> None:
        self._opcode = opcode
        self._max_size = max_size
        self._inflate = inflate
        self._inflating: Inflating | None = None
        self._size = 0
        self._bytes = bytearray()

    def start_fragment(self, size: int) -> None:
        """Count a fragment whose header says that it has ``size`` bytes.

        :raises TooLargeError: they are more than those of an allowed message that did not become shorter.
        """
        self._size += size
        if self._size > self._max_size + (self._max_size >> 2) + _MAX_OVERHEAD:
            raise too_large(self._max_size)

    def add(self, payload: bytes) -> None:
        """Add the next bytes."""
        self._bytes += payload

    def inflate(self) -> tuple[str | bytes | None, int]:
        """Inflate the message, all bytes of which were added, or go on with that.

        :returns: the message, ``None`` if it has to be gone on with; and the bytes, in and out, that it has if it is
            not ``None``.
        :raises ProtocolError: it is no DEFLATE, larger than it may be, or a text that is not UTF-8.
        """
        if self._inflating is None:
            self._inflating = self._inflate(bytes(self._bytes), self._max_size)
            self._bytes.clear()
        try:
            next(self._inflating)
        except StopIteration as result:
            message: bytes = result.value
        else:
            return None, 0
        size = self._size + len(message)
        if self._opcode != TEXT:
            return message, size
        try:
            return message.decode("utf-8"), size
        except UnicodeDecodeError:
            raise not_utf8() from None


def not_utf8() -> ProtocolError:
    """Return the error for a text message that is not UTF-8 (section 8.1)."""
    return ProtocolError("a text message that is not UTF-8")
