"""The transports ``xhr-multipart`` and ``htmlfile``: one response without end carries all payloads."""

import asyncio
from typing import Final

from tornado.httputil import HTTPHeaders

from tornadio.client.httpchannel import SESSION_ENDED, HTTPChannel
from tornadio.client.requests import refusal
from tornadio.client.response import Receive, ResponseLostError
from tornadio.client.streamformats import HTMLFileParser, MultipartParser, StreamParser
from tornadio.closecodes import Cause
from tornadio.errors import ConnectError, ProtocolError

# HTTP can't tell the end of a body without a length from a connection that broke (RFC 9112, section 8).
_CLOSED: Final = Cause(1006, "the server closed the connection of the stream")


class StreamingChannel(HTTPChannel):
    """A stream's GET, and POSTs beside it."""

    parser_class: type[StreamParser]

    async def open(self) -> None:
        """Open the session: the first payload is its id.

        :raises ConnectError: no session; says why.
        """
        self.requests.begin_step(f"waiting for the first payload of {self.transport}")
        session = self.session  # which this channel drops if the stream ends it
        session.attach(self)
        self.spawn(self._receive())
        await session.wait_open()
        self.wake()

    async def _receive(self) -> None:
        what = f"the GET of {self.transport}"
        try:
            response = await self.requests.request("GET", self.path("GET"), stream_body=self._begin)
            if response.status != 200:
                raise refusal(response, what)
        except ConnectError as error:
            self.session.open_failed(error)
            self.abort(1006)
        except ResponseLostError as error:
            self.end(Cause(1006, f"{what} failed: {error}"))
        else:
            is_delimited = "Transfer-Encoding" in response.headers or "Content-Length" in response.headers
            if is_delimited:
                await self.posts_done()
            self.end(SESSION_ENDED if is_delimited else _CLOSED)

    def _begin(self, headers: HTTPHeaders) -> Receive:
        try:
            parser = self.parser_class(headers.get("Content-Type", ""), self.options.max_payload_size)
        except ProtocolError as error:
            self.session.open_failed(ConnectError(str(error), is_permanent=True))
            self.abort(1002)
            return _discard
        self.reading = asyncio.current_task()

        def receive(data: bytes) -> "asyncio.Future[None] | None":
            if not self.is_ended:
                self._parse(parser, data)
            return self.until_resumed()

        return receive

    def _parse(self, parser: StreamParser, data: bytes) -> None:
        self.session.heard()
        try:
            for payload in parser.feed(data):
                if self.is_ended:
                    return
                self.session.payload_received(payload)
        except ProtocolError as error:
            self.end(Cause(error.close_code, str(error)))


def _discard(data: bytes) -> None:
    """Discard the body of a response that is none of this transport; the connection is being closed."""


class MultipartChannel(StreamingChannel):
    """``xhr-multipart``."""

    parser_class = MultipartParser


class HTMLFileChannel(StreamingChannel):
    """``htmlfile``."""

    parser_class = HTMLFileParser
