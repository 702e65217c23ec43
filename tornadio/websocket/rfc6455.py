"""WebSocket as in RFC 6455 (version 13) and in its drafts with the versions 7 and 8: handshake and framing, sans-I/O.

For a server the three versions differ in one header alone: 7 and 8 send ``Sec-WebSocket-Origin`` instead of ``Origin``.
Sections are those of RFC 6455.
"""

import base64
import binascii
import functools
import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from tornadio.closecodes import CLOSE_CODES, MAX_REASON_SIZE, NO_STATUS, PRIVATE_CLOSE_CODES, Cause
from tornadio.errors import ProtocolError
from tornadio.settings import Compression
from tornadio.websocket.deflate import Compressor, Deflate, TakeoverCompressor, check_response, make_offer
from tornadio.websocket.fragments import CompressedMessage, FragmentedMessage
from tornadio.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    FrameHeader,
    build_frame,
    build_masked_frame,
)
from tornadio.websocket.masking import mask

VERSIONS: Final = ("13", "8", "7")  # as a response 426 lists them (section 4.4)

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
# Frames that one call of feed parses, or twice as many where kinds are mixed: below a millisecond.
_MAX_FRAMES_PER_FEED: Final = 256
_FRAMES: Final = range(_MAX_FRAMES_PER_FEED)
_MAX_PONGS: Final = 4096  # bytes of pongs that are kept while the socket accepts none


_SHORT_TEXT: Final = [build_frame(TEXT, bytes(length))[:2] for length in range(126)]  # headers, by the payload's length


# -- Handshake ---------------------------------------------------------------------------------------------------------


def handshake_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the response headers for an upgrade request (section 4.2.2).

    :raises ProtocolError: a ``Sec-WebSocket-Key`` that is not the base64 of 16 bytes.
    """
    key = headers.get("Sec-WebSocket-Key", "").strip()
    try:
        nonce = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:
        raise ProtocolError("Sec-WebSocket-Key must be 16 bytes in base64")
    return {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": _accept(key)}


def _accept(key: str) -> str:
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def new_key() -> str:
    """Return a ``Sec-WebSocket-Key`` for one handshake of a client (section 4.1)."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


def client_request_headers(key: str, compression: Compression | None = None) -> dict[str, str]:
    """Return the headers that make a client's GET a request for a WebSocket (section 4.1).

    :param key: of :func:`new_key`.
    :param compression: what permessage-deflate is offered with; ``None``: it is not.
    """
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
    }
    if compression is not None:
        headers["Sec-WebSocket-Extensions"] = make_offer(compression)
    return headers


def check_client_response(
    headers: Mapping[str, str], key: str, compression: Compression | None = None
) -> Deflate | None:
    """Check the headers of the 101 response to a client's request (section 4.1).

    :param headers: by names whose case doesn't matter.
    :param key: what the request had, as ``compression``.
    :returns: what a :class:`ClientFramer` compresses and inflates with; ``None``: nothing.
    :raises ProtocolError: the response is not one to that request; the message says in what.
    """
    upgrade = headers.get("Upgrade", "")
    if upgrade.strip().lower() != "websocket":
        raise ProtocolError(f'the response to a WebSocket handshake has no "Upgrade: websocket", but {upgrade!r}')
    connection = headers.get("Connection", "")
    if "upgrade" not in (token.strip().lower() for token in connection.split(",")):
        raise ProtocolError(f'the response to a WebSocket handshake has no "Connection: Upgrade", but {connection!r}')
    accept = headers.get("Sec-WebSocket-Accept", "").strip()
    if accept != _accept(key):
        raise ProtocolError(f"Sec-WebSocket-Accept is {accept!r}, not the one that belongs to the request's key")
    subprotocol = headers.get("Sec-WebSocket-Protocol", "")
    if subprotocol.strip():
        raise ProtocolError(f"the server has chosen a WebSocket subprotocol that was not asked for: {subprotocol!r}")
    return check_response(headers.get("Sec-WebSocket-Extensions", ""), compression)


# -- Frames ------------------------------------------------------------------------------------------------------------


class _BaseFramer:
    """What both sides of a connection have in common: all but masking."""

    __slots__ = (
        "_buffer",
        "_close_reply",
        "_close_sent",
        "_deflate",
        "_frame",
        "_inflating",
        "_max_payload_size",
        "_message",
        "_pongs",
        "closed",
        "error",
        "has_data_to_send",
        "has_more",
        "peer_close",
    )

    _is_peer_masking: ClassVar[bool]

    def __init__(self, max_payload_size: int, deflate: Deflate | None = None) -> None:
        self.error: ProtocolError | None = None
        self.closed = False
        self.peer_close: Cause | None = None
        self.has_more = False
        self.has_data_to_send = False
        self._max_payload_size = max_payload_size
        self._deflate = deflate
        self._buffer = b""
        self._frame: FrameHeader | None = None
        self._message: FragmentedMessage | CompressedMessage | None = None
        self._inflating: CompressedMessage | None = None  # a message that was received whole
        self._pongs = b""
        self._close_reply: bytes | None = None
        self._close_sent = False

    def feed(self, data: bytes) -> list[str | bytes]:
        messages: list[str | bytes] = []
        if self.closed:
            return messages
        self.has_more = False
        position = 0
        if self._buffer:
            data = self._buffer + data
        elif self._message is None and self._frame is None and self._inflating is None:
            position = self._parse_unfragmented_text(data, 0, messages)
            if position == len(data):  # nearly always
                return messages
        try:
            self._buffer = data[self._parse(data, position, messages) :]
        except ProtocolError as error:
            self.error = error.with_traceback(None)  # which holds this object: break the reference cycle
            self.closed = True
        if self.closed:
            self._buffer = b""
            self._message = self._inflating = None
        return messages

    def _parse(self, data: bytes, position: int, messages: list[str | bytes]) -> int:
        """Parse frames from ``position`` on, up to the limit of one call.

        :returns: where the rest begins, which is kept: part of a header or control frame, or frames past the limit.
        """
        end, frames = len(data), 0
        while self._inflating is not None or (position < end and not self.closed):
            if self._inflating is not None:
                message, size = self._inflating.inflate()
                if message is None:
                    self.has_more = True
                    break
                self._inflating = None
                messages.append(message)
                frames += size >> 10  # against the limit: a KiB counts as a frame
                continue
            if self._frame is None:
                if self._message is None:
                    position = self._parse_unfragmented_text(data, position, messages)
                    if position == end:
                        break
                if frames + len(messages) >= _MAX_FRAMES_PER_FEED:
                    self.has_more = True
                    break
                frames += 1
                self._frame = FrameHeader.parse(data, position, self._is_peer_masking, self._deflate is not None)
                if self._frame is None:
                    break
                position += self._frame.size
                self._start_frame(self._frame)
            frame = self._frame
            chunk = data[position : position + frame.remaining]
            # A control frame is handled as a whole: it has 125 bytes at most. Data frames are consumed as they come.
            if len(chunk) < frame.remaining and frame.opcode >= CLOSE:
                break
            position += len(chunk)
            self._consume_frame(frame, frame.unmask(chunk), messages)
            if not frame.remaining:
                self._frame = None
        return position

    @staticmethod
    def _build_frame(opcode: int, payload: bytes) -> bytes:
        """Return a frame that is a whole message or a control frame."""
        raise NotImplementedError

    def _parse_unfragmented_text(self, data: bytes, position: int, messages: list[str | bytes]) -> int:
        """Parse text messages of one frame each that is there as a whole: nearly all that peers send. The checks of the
        general case are left to it: anything else, or wrong, stops this loop.

        :returns: where it stopped.
        """
        raise NotImplementedError

    def _start_frame(self, frame: FrameHeader) -> None:
        """Check a new frame's header against the message under way, if any (section 5.4), and count it towards it."""
        if frame.opcode >= CLOSE:
            return
        message = self._message
        if frame.opcode == CONTINUATION:
            if message is None:
                raise ProtocolError("a continuation frame continues nothing", close_code=1002)
        elif message is not None:
            raise ProtocolError("a new message began inside another", close_code=1002)
        else:
            message = self._message = self._new_message(frame)
        message.start_fragment(frame.remaining)

    def _new_message(self, frame: FrameHeader) -> FragmentedMessage | CompressedMessage:
        if frame.compressed:
            assert self._deflate is not None
            return CompressedMessage(frame.opcode, self._max_payload_size, self._deflate.inflate)
        return FragmentedMessage(frame.opcode, self._max_payload_size)

    def _consume_frame(self, frame: FrameHeader, payload: bytes, messages: list[str | bytes]) -> None:
        """Consume a control frame, or the next bytes of a data frame."""
        if frame.opcode >= CLOSE:
            self._consume_control(frame.opcode, payload)
            return
        message = self._message
        assert message is not None
        message.add(payload)
        if not frame.final or frame.remaining:
            return
        self._message = None
        if isinstance(message, CompressedMessage):
            self._inflating = message
        else:
            messages.append(message.finish())

    def _consume_control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            if len(self._pongs) > _MAX_PONGS:
                self._pongs = b""  # of a flood only the latest ping has to be answered (section 5.5.3)
            self._pongs += self._build_frame(PONG, payload)
            self.has_data_to_send = True
        elif opcode == CLOSE:
            self.peer_close = _parse_close(payload)
            self._close_reply = self._build_frame(CLOSE, payload[:2])  # the code is echoed (section 5.5.1)
            self.closed = self.has_data_to_send = True

    def encode(self, message: str | bytes) -> bytes:
        opcode, payload = (TEXT, message.encode("utf-8")) if isinstance(message, str) else (BINARY, message)
        if self._deflate is None:
            return self._build_frame(opcode, payload)
        return _encode_compressed(self._build_frame, self._deflate.compressor, opcode, payload)

    def data_to_send(self) -> bytes:
        self.has_data_to_send = False
        outgoing = b"" if self._close_sent else self._pongs
        self._pongs = b""
        if self._close_reply is not None and not self._close_sent:
            self._close_sent = True
            outgoing += self._close_reply
        return outgoing

    def close(self, code: int, reason: str) -> bytes:
        """Return the close frame; ``reason`` is cut to what fits a control frame (123 bytes)."""
        if self._close_sent:
            return b""
        self._close_sent = True
        text = reason.encode("utf-8")[:MAX_REASON_SIZE].decode("utf-8", "ignore").encode("utf-8")
        return self._build_frame(CLOSE, code.to_bytes(2, "big") + text)


class Framer(_BaseFramer):
    """The :class:`tornadio.websocket.framer.Framer` of a server, of RFC 6455 and of the versions 7 and 8.

    :param max_payload_size: bytes of one WebSocket message, in however many fragments; a larger one fails the
        connection as soon as a frame's header shows it, or when it is inflated.
    :param deflate: of :func:`tornadio.websocket.deflate.accept_offer`, if messages may be compressed.
    """

    __slots__ = ()

    _is_peer_masking: ClassVar[bool] = True

    @staticmethod
    def _build_frame(opcode: int, payload: bytes) -> bytes:
        return build_frame(opcode, payload)

    def _parse_unfragmented_text(self, data: bytes, position: int, messages: list[str | bytes]) -> int:
        end = len(data)
        for _ in _FRAMES:
            if end - position < 6 or data[position] != 0x80 | TEXT:
                break
            # XOR clears the mask bit of a masked frame, and sets that of another one: a length above 127.
            start, length = position + 2, data[position + 1] ^ 0x80
            if length > 125:
                if length > 127:
                    break
                start, length = _extended_length(data, start, length)
                if length < 0:
                    break
            stop = start + 4 + length
            if stop > end or length > self._max_payload_size:
                break
            try:
                messages.append(mask(data[start : start + 4], data[start + 4 : stop]).decode())
            except UnicodeDecodeError:
                break
            position = stop
        return position

    @property
    def is_encoding_shared(self) -> bool:
        return self._deflate is None or isinstance(self._deflate.compressor, Compressor)

    @property
    def encode_text(self) -> Callable[[bytes], bytes]:
        """Return the function that returns a frame that carries a text, given as UTF-8: the same one for each framer
        for which :attr:`is_encoding_shared` is true and that compresses in the same way.
        """
        if self._deflate is None:
            return _encode_text
        compressor = self._deflate.compressor
        if isinstance(compressor, Compressor):
            return _shared_encoder(compressor)
        return functools.partial(_encode_compressed, build_frame, compressor, TEXT)


def _encode_text(text: bytes) -> bytes:
    length = len(text)
    return _SHORT_TEXT[length] + text if length < 126 else build_frame(TEXT, text)


def _encode_compressed(
    build: Callable[[int, bytes], bytes], compressor: Compressor | TakeoverCompressor, opcode: int, payload: bytes
) -> bytes:
    compressed = compressor.compress(payload)
    return build(opcode, payload) if compressed is None else build(RSV1 | opcode, compressed)


@functools.cache
def _shared_encoder(compressor: Compressor) -> Callable[[bytes], bytes]:
    return functools.partial(_encode_compressed, build_frame, compressor, TEXT)


class ClientFramer(_BaseFramer):
    """The :class:`tornadio.websocket.framer.Framer` of a client: masks what it sends, with a new key for each frame.

    :param max_payload_size: as that of :class:`Framer`.
    :param deflate: of :func:`check_client_response`, if messages may be compressed.
    """

    __slots__ = ()

    _is_peer_masking: ClassVar[bool] = False

    @staticmethod
    def _build_frame(opcode: int, payload: bytes) -> bytes:
        return build_masked_frame(opcode, payload)

    def _parse_unfragmented_text(self, data: bytes, position: int, messages: list[str | bytes]) -> int:
        end = len(data)
        for _ in _FRAMES:
            if end - position < 2 or data[position] != 0x80 | TEXT:
                break
            start, length = position + 2, data[position + 1]
            if length > 125:
                if length > 127:  # a masked frame
                    break
                start, length = _extended_length(data, start, length)
                if length < 0:
                    break
            stop = start + length
            if stop > end or length > self._max_payload_size:
                break
            try:
                messages.append(data[start:stop].decode())
            except UnicodeDecodeError:
                break
            position = stop
        return position


def _extended_length(data: bytes, start: int, length: int) -> tuple[int, int]:
    """Parse an extended payload length (section 5.2).

    :param length: what the header's second byte says, 126 or 127.
    :returns: where the length ends, and the length; that is negative if it is not in its shortest form. Of one that was
        not received as a whole the end is behind the data.
    """
    stop = start + (2 if length == 126 else 8)
    extended = int.from_bytes(data[start:stop], "big")
    return stop, extended if extended >= (126 if length == 126 else 1 << 16) else -1


def _parse_close(payload: bytes) -> Cause:
    """Parse a close frame: empty, or a code that may be sent, and a reason in UTF-8 (sections 5.5.1 and 7.4).

    :raises ProtocolError: it is anything else.
    """
    if not payload:
        return NO_STATUS
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in CLOSE_CODES or code in PRIVATE_CLOSE_CODES):
        raise ProtocolError("a close frame with an illegal code", close_code=1002)
    try:
        return Cause(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        raise ProtocolError("a close reason that is not UTF-8") from None
