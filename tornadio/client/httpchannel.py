"""What the transports over HTTP have in common: messages go to the server in POSTs, and a task receives payloads."""

import asyncio
import time
import urllib.parse
from collections.abc import Coroutine
from typing import Any, Final

from tornadio.client.options import Options
from tornadio.client.outbox import Outbox
from tornadio.client.requests import Requests
from tornadio.client.response import Response, ResponseLostError
from tornadio.client.session import ClientSession
from tornadio.closecodes import Cause
from tornadio.errors import ConnectError
from tornadio.logs import get_logger
from tornadio.net.tasks import start_task

logger = get_logger(__name__)

# Characters of messages that one POST carries, if there are several. One at a time is under way, so that order is kept.
_BATCH_SIZE: Final = 1 << 16
# With the charset the server takes newlines as they are: browsers' forms, which name none, change them.
_FORM: Final = (("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),)
_NOT_ESCAPED: Final = "~!*()'"  # as encodeURIComponent leaves them, besides what quote does

# What a status says, as a close code. 401: the session has ended, as it does without a code.
_CLOSE_CODES: Final = {400: 1007, 401: 1005, 403: 1008, 413: 1009, 429: 1013, 500: 1011, 503: 1013}
SESSION_ENDED: Final = Cause(1005, "the server has ended the session")


def cause_of(response: Response, what: str) -> Cause:
    """Return why a connection ends one of whose requests was answered with an error."""
    return Cause(_CLOSE_CODES.get(response.status, 1006), f"{what} was answered {response}")


def timestamp() -> int:
    """Return the milliseconds since 1970, which clients of old put into URLs against caches."""
    return time.time_ns() // 1_000_000


class HTTPChannel:
    """A session's channel over HTTP. Subclasses receive.

    :param transport: the name in paths.
    :ivar is_ended: whether nothing is to be received and sent any more.
    :ivar reading: the task that reads a stream. It ends with the TCP connection; Tornado would log its cancellation as
        an exception of the code that receives the body.
    """

    def __init__(
        self, transport: str, options: Options, requests: Requests, session: ClientSession, outbox: Outbox
    ) -> None:
        self.transport = transport
        self.options = options
        self.requests = requests
        self._session: ClientSession | None = session  # until the last task has ended
        self._outbox = outbox
        self._tasks: set[asyncio.Task[None]] = set()
        self._posting: asyncio.Task[None] | None = None
        self._post_failure: Cause | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._resumed: asyncio.Future[None] | None = None  # while reading is paused
        self.is_ended = False
        self.reading: asyncio.Task[Any] | None = None

    def path(self, method: str) -> str:
        """Return path and query of a request of this session; before its id is known, of the request that opens it."""
        session_id = urllib.parse.quote(self.session.session_id or "", safe="")
        return self.options.target.request_target(self.transport, f"/{session_id}/{self.tail(method)}")

    def tail(self, method: str) -> str:
        """Return what is behind the session in the path of a request."""
        return "send" if method == "POST" else str(timestamp())

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Start a task that ends with the channel at the latest."""
        task = start_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s: failed", self._session, exc_info=task.exception())
            self.end(Cause(1006, "the client failed"))
        self._drop_session()

    @property
    def session(self) -> ClientSession:
        assert self._session is not None
        return self._session

    def _drop_session(self) -> None:
        if self.is_ended and not self._tasks:
            self._session = None  # which refers to this object: break the reference cycle

    # -- Receiving -------------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        if self._resumed is None:
            self._resumed = asyncio.get_running_loop().create_future()

    def resume_reading(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    def until_resumed(self) -> "asyncio.Future[None] | None":
        """Return what to wait for before more is read; ``None`` if reading is not paused."""
        return self._resumed

    # -- Sending ---------------------------------------------------------------------------------------------------

    def write(self, message: Any, payload: str) -> bool:
        return False  # by way of the outbox

    def send_heartbeat(self, payload: str) -> None:
        self._outbox.put_heartbeat(payload)
        self.wake()

    def wake(self) -> None:
        if self.is_ended or self._posting is not None or self._post_failure is not None:
            return
        if self.session.session_id is not None:  # a heartbeat may come before it
            self._posting = self.spawn(self._post_all())

    async def _post_all(self) -> None:
        """POST what is in the outbox, until it is empty or a POST fails."""
        try:
            while payload := self._next_payload():
                self.session.trace("out", payload)
                failure = await self._post(payload)
                if failure is not None:
                    self._fail_posts(failure)
                    return
                self._outbox.sent()
                self.session.heard()
        finally:
            self._posting = None

    def _next_payload(self) -> str:
        heartbeats = []
        while heartbeat := self._outbox.pop_heartbeat():
            heartbeats.append(heartbeat)
        return "".join(heartbeats) + self._outbox.begin_next(_BATCH_SIZE)

    async def _post(self, payload: str) -> Cause | None:
        """POST a payload; returns what went wrong."""
        body = b"data=" + urllib.parse.quote(payload, safe=_NOT_ESCAPED).encode("ascii")
        try:  # without a timeout: the server answers when its application has handled the messages
            response = await self.requests.request("POST", self.path("POST"), _FORM, body)
        except (ConnectError, ResponseLostError) as error:
            return Cause(1006, f"a POST failed: {error}")
        return None if response.status == 200 else cause_of(response, "a POST")

    def _fail_posts(self, cause: Cause) -> None:
        """Send no more, but receive what the server has sent before it ends the session, or for ``close_timeout``."""
        self._post_failure = cause
        self._timer = asyncio.get_running_loop().call_later(self.options.close_timeout, self.end, cause)

    async def posts_done(self) -> None:
        """Wait for the response to a POST that is under way: it may say that the server has handled it."""
        if self._posting is not None:
            await asyncio.wait({self._posting}, timeout=self.options.close_timeout)

    # -- Ends ------------------------------------------------------------------------------------------------------

    def end(self, cause: Cause) -> None:
        """End the session and the channel. A POST that has failed before is the better reason."""
        self.session.ended(self._post_failure or cause)
        self.abort(cause.code)

    def fail(self, cause: Cause) -> None:
        self.end(cause)

    async def close(self, code: int, reason: str) -> None:
        """Do nothing: a stream ends with its TCP connection."""

    def abort(self, code: int) -> None:
        if self.is_ended:
            return
        self.is_ended = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks - {asyncio.current_task(), self.reading}:  # the current one is about to return
            task.cancel()
        self.resume_reading()
        self.requests.close()
        self._drop_session()

    async def wait_closed(self) -> None:
        while tasks := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(tasks)
