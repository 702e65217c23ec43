"""HTTP streaming: one response without end carries all payloads to the client, which sends its own in POSTs.

The connection of such a GET is detached from HTTP once its headers were read, as it carries no other request: so a
stream is as fast as a WebSocket. The encoding of a stream is a :class:`StreamFormat`: ``multipart.py`` and
``htmlfile.py`` have one each.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Protocol

from tornadio.errors import PeerError, RefusedError
from tornadio.sessions.base import BaseSession
from tornadio.sessions.persistent import PersistentSession
from tornadio.transports.base import DetachingTransport
from tornadio.transports.opening import abort_lost, open_session
from tornadio.transports.streamchannel import StreamChannel


class StreamFormat(Protocol):
    """The encoding of payloads in the body of a stream. If the response is chunked, all that it encodes are chunks.

    :ivar content_type: the response's.
    :ivar preamble: the body's beginning, before the first payload.
    :ivar encode: returns the bytes that carry a payload, given as UTF-8, but for their end: a pure function, the same
        object for all streams whose bytes are the same.
    :ivar part_end: the end of those bytes, which may be this stream's alone.
    :ivar epilogue: the body's end, after the last payload.
    """

    @property
    def content_type(self) -> str: ...

    @property
    def preamble(self) -> bytes: ...

    @property
    def encode(self) -> Callable[[bytes], bytes]: ...

    @property
    def part_end(self) -> bytes: ...

    @property
    def epilogue(self) -> bytes: ...


LAST_CHUNK = b"0\r\n\r\n"  # with the empty trailer section (RFC 9112, section 7.1)


def chunk(data: bytes) -> bytes:
    """Encode a chunk of a chunked body (RFC 9112, section 7.1); empty ``data`` would be the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class StreamingHandler(DetachingTransport):
    """A GET whose response is a stream."""

    def make_format(self, is_chunked: bool) -> StreamFormat:
        """Return the format of this stream's body.

        :param is_chunked: whether the response is chunked.
        """
        raise NotImplementedError

    def detach(self) -> Awaitable[None] | None:
        if self._refusal is not None:  # not raised: HTTP reads the body, and handle() responds
            return None
        try:
            self._check_no_body()
            if self.path.session_id:
                self._start(self.find_session())
                return None
            opening = open_session(
                self.endpoint, PersistentSession, self.transport, self.request, self.path.extra, self._on_opened
            )
            if opening is not None:  # HTTP reads nothing meanwhile; a client that disconnects ends its session
                self.exchange.set_close_callback(functools.partial(abort_lost, opening.session, self.exchange))
                return opening.concluded
        except PeerError as error:
            self._refusal = error.with_traceback(None)  # the traceback holds this object: break the reference cycle
        except Exception:
            self._refusal = self.internal_error()
        return None

    def _check_no_body(self) -> None:
        """Check that the GET has no body: on a detached connection it would not be read, nor its framing checked.

        :raises RefusedError: it has one.
        """
        headers = self.exchange.headers
        if "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0":
            raise RefusedError(400, "a GET that opens a stream has no body")

    def _on_opened(self, outcome: BaseSession | PeerError) -> None:
        if isinstance(outcome, PeerError):
            self._refusal = outcome
        else:
            self._start(outcome)

    def _start(self, session: BaseSession) -> None:
        """Detach the connection, send the response's head, and make the stream the session's channel."""
        is_chunked = self.exchange.version == "HTTP/1.1"  # else the connection's end is the body's
        stream_format = self.make_format(is_chunked)
        coding = "Transfer-Encoding: chunked\r\n" if is_chunked else ""
        head = self.build_head(200, stream_format.content_type, f"{coding}Connection: close\r\n")
        wire = self.exchange.detach()
        channel = StreamChannel(wire, session, stream_format, head)
        wire.start(channel)
        self.log(200)
        session.attach(channel)
        channel.write_head()  # where there was nothing to send with it
        if not stream_format.part_end:
            session.write_directly(wire, stream_format.encode)
