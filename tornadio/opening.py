"""Opens sessions, for every transport: makes one, runs ``on_open``, and tells the outcome, once.

No session is left behind that nobody carries: whatever goes wrong between its making and its outcome ends it.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from tornado.httputil import HTTPServerRequest

from tornadio.errors import HandlerError, PeerError, RefusedError
from tornadio.logs import get_logger
from tornadio.session import Session
from tornadio.transport import Resource

logger = get_logger(__name__)

S = TypeVar("S", bound=Session)


def open_session(
    resource: Resource,
    session_class: type[S],
    transport: str,
    request: HTTPServerRequest,
    extra: str,
    conclude: Callable[[S | PeerError], None],
) -> "asyncio.Future[None] | None":
    """Make a session and run ``on_open``.

    :param request: for ``on_open``.
    :param extra: what ``extra_re`` matched, for ``on_open``.
    :param conclude: called once with the outcome: the session, if it may go on, else the error that the client is
        told, and the session has ended. One that raises ends it, too.
    :returns: ``None`` if the outcome was told, else a future that is done when it is: ``on_open`` is a coroutine.
    """
    session: S | None = None
    try:
        session = resource.sessions.create(session_class, resource.connection_class(), transport)
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
            return _Opening(session, opened, conclude).concluded
        _conclude(session, opened, conclude)
    return None


def _end(session: Session | None) -> None:
    if session is not None:
        session.drop()


def _conclude(session: S, accepted: bool, conclude: Callable[[S | PeerError], None]) -> None:
    if not accepted:
        conclude(RefusedError(403, "the application refused this connection"))
        return
    try:
        conclude(session)
    except BaseException:
        session.drop()
        raise


class _Opening(Generic[S]):
    """An ``on_open`` that has to be waited for.

    :ivar concluded: done when the outcome was told.
    """

    __slots__ = ("_conclude", "_session", "concluded")

    def __init__(self, session: S, opened: "asyncio.Task[bool]", conclude: Callable[[S | PeerError], None]) -> None:
        self.concluded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._session = session
        self._conclude = conclude
        opened.add_done_callback(self._on_opened)

    def _on_opened(self, opened: "asyncio.Task[bool]") -> None:
        """Tell the outcome. A task that was cancelled before it began has not even ended the session."""
        try:
            if opened.cancelled():
                self._session.drop()
                self._conclude(RefusedError(503, "this server is shutting down: connect again"))
            elif (error := opened.exception()) is not None:
                self._session.drop()
                self._conclude(error.with_traceback(None) if isinstance(error, PeerError) else HandlerError())
            else:
                _conclude(self._session, opened.result(), self._conclude)
        except Exception:
            logger.exception("%s: failed to open", self._session)
        finally:
            if not self.concluded.done():  # else who waited for it was cancelled
                self.concluded.set_result(None)
