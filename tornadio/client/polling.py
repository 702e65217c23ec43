"""The transports ``xhr-polling`` and ``jsonp-polling``: the response to each GET carries the next payloads."""

import asyncio
import contextlib
import re
from typing import Final

from tornadio.client.httpchannel import SESSION_ENDED, HTTPChannel, cause_of, timestamp
from tornadio.client.requests import refusal
from tornadio.client.response import Response, ResponseLostError
from tornadio.client.streamformats import parse_js_string
from tornadio.closecodes import Cause
from tornadio.errors import ConnectError, ProtocolError, TooLargeError

_CALL: Final = re.compile(r'io\.JSONP\[0\]\._\((".*")\);?\s*', re.DOTALL)

# The session ids of TornadIO. The official server 0.6, whose ids are numbers, logs an error for a POST without a body.
_OF_TORNADIO: Final = re.compile("[0-9a-f]{32}$")


class PollingChannel(HTTPChannel):
    """``xhr-polling``: a response is the payload itself.

    A poll is never made again, since what its response held would be lost: the server can't know whether a response
    that the kernel has accepted has arrived. A connection that breaks during a poll ends the session.
    """

    _receiving: asyncio.Task[None] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    max_growth = 1  # bytes of a response for each of its payload

    async def open(self) -> None:
        """Open the session: the first response has its id.

        :raises ConnectError: no session; says why.
        """
        self.requests.begin_step(f"waiting for the response to the first GET of {self.transport}")
        try:
            response = await self._poll()
            if response.status != 200:
                raise refusal(response, f"the first GET of {self.transport}")
            payload = self.payload_of(response)
        except (ResponseLostError, ProtocolError) as error:
            raise ConnectError(f"the first GET of {self.transport} failed: {error}") from None
        session = self.session  # which this channel drops if the payload ends it
        session.attach(self)
        session.payload_received(payload)
        await session.wait_open()
        if not self.is_ended:
            self.wake()
            self._receiving = self.spawn(self._receive())

    async def _receive(self) -> None:
        while not self.is_ended:
            if (resumed := self.until_resumed()) is not None:
                await resumed
                continue
            try:
                response = await self._poll()
                if response.status == 401:
                    await self.posts_done()
                    self.end(SESSION_ENDED)
                elif response.status != 200:
                    self.end(cause_of(response, "a poll"))
                else:
                    self.session.heard()
                    payload = self.payload_of(response)
                    if payload:
                        self.session.payload_received(payload)
            except TooLargeError as error:
                self.end(Cause(error.close_code, str(error)))
            except (ConnectError, ResponseLostError, ProtocolError) as error:
                self.end(Cause(1006, f"a poll failed: {error}"))

    async def close(self, code: int, reason: str) -> None:
        """Receive no more, and tell TornadIO by a POST without a body that the client leaves. Other servers notice that
        no poll comes.
        """
        if self.is_ended or self._post_failure is not None or not _OF_TORNADIO.search(self.session.session_id or ""):
            return
        self.session.ended(Cause(code, reason))
        if self._receiving is not None:
            self._receiving.cancel()
        await self.spawn(self._post_nothing())

    async def _post_nothing(self) -> None:
        with contextlib.suppress(ConnectError, ResponseLostError):
            await self.requests.request("POST", self.path("POST"))

    async def _poll(self) -> Response:
        max_body_size = self.max_growth * self.options.max_payload_size + 64
        return await self.requests.request(
            "GET", self.path("GET"), self.headers, max_body_size=max_body_size, on_progress=self._heard
        )

    def _heard(self) -> None:
        # Of this object, not the session's own: the frames of a request that was cancelled refer to it.
        if self._session is not None:
            self._session.heard()

    def payload_of(self, response: Response) -> str:
        """Return the payload of a response.

        :raises ProtocolError: there is none in it.
        """
        try:
            return response.body.decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError("the response is not UTF-8") from None


class JSONPChannel(PollingChannel):
    """``jsonp-polling``: a response is a script that calls a function with the payload."""

    # Servers refuse the scripts of other sites by these headers; without any a script's GET can't be told from theirs.
    headers = (("Sec-Fetch-Site", "none"),)
    max_growth = 6  # an escape \uXXXX

    def tail(self, method: str) -> str:
        # 0: the index of the function. In POSTs, too: the official server 0.6 fails as a whole where it is missing.
        return f"{timestamp()}/0"

    def payload_of(self, response: Response) -> str:
        call = _CALL.fullmatch(super().payload_of(response))
        payload = None if call is None else parse_js_string(call[1])
        if payload is None:
            raise ProtocolError('the response is no call of the form io.JSONP[0]._("...");')
        return payload
