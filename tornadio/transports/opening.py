"""Opens sessions, for every transport: makes one, runs ``on_open``, and tells the outcome, once.

No session is left behind that nobody carries: whatever goes wrong between its making and its outcome ends it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tornado.httputil import HTTPServerRequest

from tornadio.errors import HandlerError, PeerError, RefusedError
from tornadio.logs import get_logger
from tornadio.sessions.base import BaseSession
from tornadio.transports.endpoint import Endpoint
from tornadio.web.peers import counted_address

logger = get_logger(__name__)

S = TypeVar("S", bound=BaseSession)


def open_session(
    endpoint: Endpoint,
    session_class: type[S],
    transport: str,
    request: HTTPServerRequest,
    extra: str,
    conclude: Callable[[S | PeerError], None],
) -> "Opening[S] | None":
    """Make a session and run ``on_open``.

    :param request: for ``on_open``.
    :param extra: what ``extra_re`` matched, for ``on_open``.
    :param conclude: called once with the outcome: the session, if it may go on, else the error that the client is
        told, and the session has ended. One that raises ends it, too.
    :returns: ``None`` if the outcome was told, else what is waited for: ``on_open`` is a coroutine. It is cancelled
        after ``open_timeout``.
    """
    session: S | None = None
    address = counted_address(request)
    try:
        endpoint.sessions.check_capacity(address)  # before the application makes anything for this client
        session = endpoint.sessions.create(session_class, endpoint.connection_class(), transport, address)
        opened = session.open(request, extra)
    except PeerError as error:
        _end(session)
        conclude(error.with_traceback(None))  # which knows whoever called, and may keep it: a circle
    except Exception:
        logger.exception("%s: failed to open a session", transport)
        _end(session)
        conclude(PeerError("the server failed on this request", http_status=500, close_code=1011))
    except BaseException:
        _end(session)
        raise
    else:
        if not isinstance(opened, bool):
            return Opening(session, opened, conclude)
        _conclude(session, opened, conclude)
    return None


def _end(session: BaseSession | None) -> None:
    if session is not None:
        session.abort()


def _conclude(session: S, accepted: bool, conclude: Callable[[S | PeerError], None]) -> None:
    if not accepted:
        conclude(RefusedError(403, "the application refused this connection"))
        return
    try:
        conclude(session)
    except BaseException:
        session.abort()
        raise


class Opening(Generic[S]):
    """An ``on_open`` that has to be waited for.

    :ivar session: the session, which a client that goes meanwhile ends.
    :ivar concluded: done when the outcome was told.
    """

    __slots__ = ("_conclude", "_opened", "_timer", "concluded", "session")

    def __init__(self, session: S, opened: "asyncio.Task[bool]", conclude: Callable[[S | PeerError], None]) -> None:
        self.concluded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.session = session
        self._opened = opened
        self._conclude = conclude
        registry = session.registry
        self._timer = registry.loop.call_later(registry.settings.open_timeout, self._give_up)
        opened.add_done_callback(self._on_opened)

    def _on_opened(self, opened: "asyncio.Task[bool]") -> None:
        self._timer.cancel()
        if opened.cancelled():  # perhaps before it began: then it has not even ended the session
            self._end(RefusedError(503, "this server is shutting down: connect again"))
        elif (error := opened.exception()) is not None:
            self._end(error.with_traceback(None) if isinstance(error, PeerError) else HandlerError())
        else:
            self._tell(_conclude, self.session, opened.result(), self._conclude)

    def _give_up(self) -> None:
        """Tell the client before ``on_open`` has ended: it may go on for as long as it likes where it is cancelled."""
        seconds = self.session.registry.settings.open_timeout
        logger.warning("%s: cancelled on_open, it took longer than open_timeout (%g s)", self.session, seconds)
        self._opened.remove_done_callback(self._on_opened)
        self._opened.cancel()
        self._end(RefusedError(503, "on_open took longer than open_timeout"))

    def _end(self, error: PeerError) -> None:
        self.session.abort()
        self._tell(self._conclude, error)

    def _tell(self, conclude: Callable[..., None], *outcome: Any) -> None:
        try:
            conclude(*outcome)
        except Exception:
            logger.exception("%s: failed to open", self.session)
        if not self.concluded.done():  # else who waited for it was cancelled
            self.concluded.set_result(None)
