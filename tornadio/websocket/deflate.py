"""permessage-deflate, the compression of WebSocket messages (RFC 7692): negotiation, compressing, inflating; sans-I/O.

Each side compresses its messages with a window of its own over what it has sent before. With *context takeover* the
window goes on from message to message, which compresses short messages that resemble each other far better, and takes
memory for each connection; without it each message is compressed for itself: a server's messages are then the same
bytes for all its clients. Sections are those of RFC 7692.
"""

import dataclasses
import functools
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Final

from tornadio.errors import ProtocolError
from tornadio.settings import Compression
from tornadio.websocket.framer import too_large

EXTENSION: Final = "permessage-deflate"

# What a flush leaves at the end of a message, and which is not sent (section 7.2.1).
_FLUSH_MARK: Final = b"\x00\x00\xff\xff"
# The same, and an empty block that ends the stream: if it does not, the message was cut within a block.
_FINAL_MARK: Final = _FLUSH_MARK + b"\x01\x00\x00\xff\xff"
# Streams that a message may consist of (section 7.2.3.4). Known senders end one at most, at the end; and each makes
# zlib copy what is behind it.
_MAX_STREAMS: Final = 16
# Bytes in and out after which inflating may be interrupted: a few milliseconds, for blocks of DEFLATE that are as short
# as can be, whose codes zlib has to build anew for each, and for a message that is a thousand times as long.
_MAX_INPUT: Final = 1 << 15
_MAX_OUTPUT: Final = 1 << 20
# Windows of a server that compresses for all its clients: with more of them, clients that ask for smaller ones would
# have each message compressed so many times.
_SHARED_WINDOWS: Final = (15, 12, 9)
_MAX_WINDOW_BITS: Final = 15
_MIN_ZLIB_WINDOW_BITS: Final = 9  # zlib compresses raw DEFLATE with no window of 8 bits

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rf'[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?')
_NAME: Final = re.compile(rf"[ \t,]*({_TOKEN})")
_END: Final = re.compile(r"[ \t]*(?:,|$)")
_WINDOW_BITS: Final = re.compile("[89]|1[0-5]")

_Parameters = dict[str, str | None]

# -- Negotiation -------------------------------------------------------------------------------------------------------


def parse_extensions(header: str) -> Iterator[tuple[str, _Parameters | None]]:
    """Parse a ``Sec-WebSocket-Extensions`` (RFC 6455, section 9.1), up to what is no such list.

    :returns: names with their parameters; ``None`` instead of these if one comes twice.
    """
    position = 0
    while name := _NAME.match(header, position):
        position = name.end()
        parameters: _Parameters | None = {}
        while parameter := _PARAMETER.match(header, position):
            position = parameter.end()
            key, token, quoted = parameter.groups()
            if parameters is None or key in parameters:
                parameters = None
            else:
                parameters[key] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        end = _END.match(header, position)
        if end is None:
            return
        position = end.end()
        yield name[1], parameters


class _Terms:
    """The parameters of an offer or a response (section 7.1).

    :ivar server_window_bits: ``None`` if it is not mentioned, as with ``client_window_bits``.
    :raises ValueError: a parameter that there is not, or that has no such value.
    """

    def __init__(self, parameters: _Parameters) -> None:
        rest = dict(parameters)
        self.server_no_context_takeover = _flag(rest, "server_no_context_takeover")
        self.client_no_context_takeover = _flag(rest, "client_no_context_takeover")
        self.server_window_bits = _window_bits(rest, "server_max_window_bits")
        self.client_window_bits = _window_bits(rest, "client_max_window_bits")
        if rest:
            raise ValueError(f"the unknown parameter {min(rest)!r}")


def _flag(parameters: _Parameters, name: str) -> bool:
    if parameters.get(name) is not None:
        raise ValueError(f"{name} with a value")
    return parameters.pop(name, "") is None


def _window_bits(parameters: _Parameters, name: str) -> int | None:
    if name not in parameters:
        return None
    value = parameters.pop(name)
    if value is None or not _WINDOW_BITS.fullmatch(value):
        raise ValueError(f"{name} without a number from 8 to 15")
    return int(value)


def accept_offer(header: str, compression: Compression) -> "tuple[Deflate, str] | None":
    """Accept the first of a client's offers that can be (section 5.1): one with parameters that are unknown, or wrong,
    is passed over.

    :param header: the request's ``Sec-WebSocket-Extensions``.
    :returns: what the server compresses with, and the response's ``Sec-WebSocket-Extensions``; ``None`` if there is no
        such offer.
    """
    for name, parameters in parse_extensions(header):
        if name != EXTENSION or parameters is None:
            continue
        if parameters.get("client_max_window_bits", "") is None:  # an offer may name it without a number
            del parameters["client_max_window_bits"]
        try:
            terms = _Terms(parameters)
        except ValueError:
            continue
        window = terms.server_window_bits
        if window is None or window >= _MIN_ZLIB_WINDOW_BITS:
            return _accept(terms, compression)
    return None


def _accept(offer: _Terms, compression: Compression) -> "tuple[Deflate, str]":
    response = [EXTENSION]
    server_takeover = compression.context_takeover and not offer.server_no_context_takeover
    client_takeover = compression.context_takeover and not offer.client_no_context_takeover
    if not server_takeover:
        response.append("server_no_context_takeover")
    if not client_takeover:
        response.append("client_no_context_takeover")
    window = _MAX_WINDOW_BITS
    if offer.server_window_bits is not None:
        window = max(bits for bits in _SHARED_WINDOWS if bits <= offer.server_window_bits)
        response.append(f"server_max_window_bits={window}")
    return _deflate(compression, window, server_takeover, client_takeover), "; ".join(response)


def make_offer(compression: Compression) -> str:
    """Return a client's ``Sec-WebSocket-Extensions``.

    Without context takeover there is a second offer, with it: npm's ``ws``, where it is told to keep its context,
    answers 400 to the first one alone.
    """
    offer = f"{EXTENSION}; client_max_window_bits"
    if compression.context_takeover:
        return offer
    return f"{offer}; server_no_context_takeover; client_no_context_takeover, {offer}"


def check_response(header: str, compression: Compression | None) -> "Deflate | None":
    """Check a server's response to :func:`make_offer`.

    :param header: the response's ``Sec-WebSocket-Extensions``, empty if it has none.
    :param compression: what the offer was made of; ``None`` if there was none.
    :returns: what the client compresses with; ``None`` if the server does not want to.
    :raises ProtocolError: an extension that was not asked for, or not so.
    """
    if not header.strip():
        return None
    error = f"the server has chosen a WebSocket extension that was not asked for: {header!r}"
    extensions = list(parse_extensions(header))
    if compression is None or len(extensions) != 1 or extensions[0][0] != EXTENSION:
        raise ProtocolError(error)
    [(_, parameters)] = extensions
    try:
        if parameters is None:
            raise ValueError("a parameter twice")
        response = _Terms(parameters)
    except ValueError as wrong:
        raise ProtocolError(f"{error}: it has {wrong}") from None
    # A server that keeps its context although it was asked not to is understood all the same.
    server_takeover = not response.server_no_context_takeover
    client_takeover = compression.context_takeover and not response.client_no_context_takeover
    window = response.client_window_bits or _MAX_WINDOW_BITS
    return _deflate(compression, window, client_takeover, server_takeover)


# -- Compressing -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Compressor:
    """Compresses messages without context takeover: the same one for all connections.

    :ivar threshold: bytes of payload below which a message goes as it is.
    """

    level: int
    memory_level: int
    window_bits: int
    threshold: int

    def compress(self, payload: bytes) -> bytes | None:
        """Compress a message (section 7.2.1).

        :returns: ``None`` if it should go as it is: it is too short, or would not become shorter.
        """
        if len(payload) < max(self.threshold, 1) or self.window_bits < _MIN_ZLIB_WINDOW_BITS:
            return None
        compressed = _flushed(self.stream(), payload)
        return compressed if len(compressed) < len(payload) else None

    def stream(self) -> "zlib._Compress":
        """Begin a DEFLATE stream."""
        return zlib.compressobj(self.level, zlib.DEFLATED, -self.window_bits, self.memory_level)


class TakeoverCompressor:
    """Compresses the messages of one connection, each with those before it in its window."""

    __slots__ = ("_parameters", "_stream")

    def __init__(self, parameters: Compressor) -> None:
        self._parameters = parameters
        self._stream: zlib._Compress | None = None  # some 260 kB, from the first message that is not too short

    def compress(self, payload: bytes) -> bytes | None:
        """Compress a message; ``None`` if it should go as it is."""
        parameters = self._parameters
        if len(payload) < max(parameters.threshold, 1) or parameters.window_bits < _MIN_ZLIB_WINDOW_BITS:
            return None
        if self._stream is None:
            self._stream = parameters.stream()
        # What has gone through is in the window: the peer needs it there too, even if it has not become shorter.
        return _flushed(self._stream, payload)


def _flushed(stream: "zlib._Compress", payload: bytes) -> bytes:
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[: -len(_FLUSH_MARK)]


# -- Inflating ---------------------------------------------------------------------------------------------------------


# What inflating a message ends with; it yields where it may be interrupted, after a few milliseconds.
Inflating = Generator[None, None, bytes]


class Inflater:
    """Inflates the messages of one connection whose peer keeps its context from message to message."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None  # some 40 kB, from the first compressed message on

    def inflate(self, data: bytes, max_size: int) -> Inflating:
        """Inflate a message; see :func:`inflate`. One that is cut is not noticed: its stream goes on."""
        if not data:  # what zlib's flush leaves of an empty message behind another one
            return b""
        data += _FLUSH_MARK
        message, self._stream = yield from _inflate(self._stream or _new_stream(), data, len(_FLUSH_MARK), max_size)
        return message


def inflate(data: bytes, max_size: int) -> Inflating:
    """Inflate a message that was compressed without context takeover (section 7.2.2).

    :param max_size: bytes that it may have.
    :raises TooLargeError: from the generator: it has more, of which only one was inflated.
    :raises ProtocolError: from the generator: it is no DEFLATE, or cut.
    """
    if not data:
        return b""
    data += _FINAL_MARK
    message, stream = yield from _inflate(_new_stream(), data, len(_FINAL_MARK), max_size)
    if stream is not None:
        raise ProtocolError("a compressed message that ends within a block")
    return message


def _inflate(
    stream: "zlib._Decompress", data: bytes, mark: int, max_size: int
) -> "Generator[None, None, tuple[bytes, zlib._Decompress | None]]":
    """Inflate a message with what belongs behind it.

    :param mark: bytes of ``data`` that are that.
    :returns: the message, and the stream to go on with; ``None`` if it has ended.
    """
    pieces: list[bytes] = []
    size, streams = 0, 1
    rest = data[:_MAX_INPUT]
    position = len(rest)  # of what was given to the stream
    while True:
        limit = min(max_size + 1 - size, _MAX_OUTPUT)
        try:
            pieces.append(stream.decompress(rest, limit))
        except zlib.error as error:
            raise ProtocolError(f"a compressed message that is no DEFLATE: {error}") from None
        size += len(pieces[-1])
        if size > max_size:
            raise too_large(max_size)
        if stream.eof:
            position -= len(stream.unused_data)
            if position in (len(data), len(data) - mark):
                return b"".join(pieces), None
            if streams == _MAX_STREAMS:
                raise ProtocolError(f"a compressed message of more than {_MAX_STREAMS} DEFLATE streams")
            streams += 1
            stream, rest = _new_stream(), b""
        else:
            rest = stream.unconsumed_tail
            if not rest and len(pieces[-1]) < limit and position == len(data):
                return b"".join(pieces), stream
        if not rest:
            rest = data[position : position + _MAX_INPUT]
            position += len(rest)
        yield


def _new_stream() -> "zlib._Decompress":
    return zlib.decompressobj(-_MAX_WINDOW_BITS)


# -- Both --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Deflate:
    """What one side of a connection compresses and inflates with.

    :ivar compressor: a :class:`Compressor` if other connections have the same.
    :ivar inflate: takes a message and the bytes that it may have; see :func:`inflate`.
    """

    compressor: Compressor | TakeoverCompressor
    inflate: Callable[[bytes, int], Inflating]


def _deflate(compression: Compression, window_bits: int, own_takeover: bool, peer_takeover: bool) -> Deflate:
    parameters = Compressor(compression.level, compression.memory_level, window_bits, compression.threshold)
    if not own_takeover and not peer_takeover:
        return _without_takeover(parameters)
    compressor = TakeoverCompressor(parameters) if own_takeover else parameters
    return Deflate(compressor, Inflater().inflate if peer_takeover else inflate)


@functools.cache  # nothing of it is a connection's own
def _without_takeover(compressor: Compressor) -> Deflate:
    return Deflate(compressor, inflate)
