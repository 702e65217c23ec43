"""The streaming transports: xhr-multipart and htmlfile. One long response carries all payloads; POSTs go beside it."""

import asyncio
import secrets

from tornado.iostream import IOStream

from tornadio.polling import script_string
from tornadio.session import Session
from tornadio.transport import Resource, TransportHandler, taken


class StreamingHandler(TransportHandler):
    """A GET is a stream: a channel for as long as it lasts."""

    content_type: str

    def initialize(self, resource: Resource) -> None:
        super().initialize(resource)
        self._session: Session | None = None
        self._ended = asyncio.Event()

    async def read(self, session_id: str, tail: str, extra: str) -> None:
        session = self.find_session(session_id) if session_id else await self.open_session(Session, extra)
        if session is None:
            return
        self._session = session
        self._connection_stream: IOStream = self.stream
        self._connection_stream.set_nodelay(True)
        self.begin()
        self.flush()
        session.attach(self)
        await self._ended.wait()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._ended.set()
        if self._session is not None:
            self._session.lost(self)

    def begin(self) -> None:
        """Set the headers and write what stands before the first payload."""
        raise NotImplementedError

    def format_payload(self, payload: str) -> str:
        """A payload as a part of the stream."""
        raise NotImplementedError

    # -- The session's channel -----------------------------------------------------------------------------------

    def deliver(self, payload: str) -> "asyncio.Future[None] | None":
        """Write a payload; see :meth:`tornadio.session.Channel.deliver`."""
        if not self._connection_stream.closed():
            self.write(self.format_payload(payload))
            self.flush()
        return taken(self._connection_stream)

    def end(self, code: int, reason: str) -> None:
        """End the response."""
        self._session = None
        self._ended.set()
        if not self._connection_stream.closed():
            self.finish()
        if self.request.version == "HTTP/1.0":
            # Its end shows by the connection's end alone, even where it was to be kept alive.
            self._connection_stream.close()

    def replaced(self) -> None:
        """Another stream goes on."""
        self.end(1000, "")

    def abort(self) -> None:
        """Cut the stream off."""
        self._ended.set()  # Tornado doesn't say so where the connection was dead before the request had been read
        self._connection_stream.close()


class XHRMultipartHandler(StreamingHandler):
    """``xhr-multipart``: each payload a part of a ``multipart/x-mixed-replace`` response."""

    transport = "xhr-multipart"

    def begin(self) -> None:
        # A boundary that a message could hold would let one client forge parts in the streams of others.
        self._boundary = f"socketio-{secrets.token_hex(16)}"
        self.set_header("Content-Type", f'multipart/x-mixed-replace;boundary="{self._boundary}"')
        self.write(f"--{self._boundary}\n")

    def format_payload(self, payload: str) -> str:
        return f"Content-Type: text/plain; charset=UTF-8\n\n{payload}\n--{self._boundary}\n"


class HTMLFileHandler(StreamingHandler):
    """``htmlfile``: each payload a script in a page that never finishes loading."""

    transport = "htmlfile"

    def begin(self) -> None:
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        if self.settings.get("compress_response"):
            # A compressor would make the first chunk too small, and keep 256 KiB of state for every stream.
            self.set_header("Content-Encoding", "identity")
        # Internet Explorer renders nothing before 256 bytes have come.
        self.write("<html><body>".ljust(256))

    def format_payload(self, payload: str) -> str:
        return f"<script>parent.s._({script_string(payload)}, document);</script>"
