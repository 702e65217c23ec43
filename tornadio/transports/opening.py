"""Opening of sessions, for every transport: creates one, runs ``on_open``, and calls back once with the outcome.

Whatever goes wrong before the callback has returned aborts the session, so that none is left without a channel.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tornado.httputil import HTTPServerRequest

from tornadio.closecodes import CLIENT_CLOSED, CONNECTION_BROKE, REFUSED, SERVER_FAILED
from tornadio.errors import HandlerError, PeerError, RefusedError
from tornadio.logs import get_logger
from tornadio.sessions.base import BaseSession
from tornadio.sessions.registry import shutting_down_error
from tornadio.transports.endpoint import Endpoint
from tornadio.transports.responses import server_failed_error
from tornadio.web.exchange import Exchange
from tornadio.web.peers import counted_address

logger = get_logger(__name__)

S = TypeVar("S", bound=BaseSession)


def open_session(
    endpoint: Endpoint,
    session_class: type[S],
    transport: str,
    request: HTTPServerRequest,
    extra: str,
    on_outcome: Callable[[S | PeerError], None],
    version: str = "",
) -> "Opening[S] | None":
    """Create a session and run ``on_open``.

    :param request: for ``on_open``.
    :param extra: what ``extra_re`` matched, for ``on_open``.
    :param on_outcome: called once: with the session, if the application has accepted it, or with the error that the
        client is to be told, when the session has ended. If it raises, the session is aborted.
    :param version: of a WebSocket's protocol.
    :returns: ``None`` if it was called, else the ``on_open`` that runs in a task and is cancelled after
        ``open_timeout``.
    """
    session: S | None = None
    address = counted_address(request)
    try:
        endpoint.sessions.check_capacity(address)  # before the connection class is instantiated
        connection = endpoint.sessions.tasks.call(endpoint.make_connection)
        session = endpoint.sessions.create(session_class, connection, transport, address, version)
        opened = session.open(request, extra)
    except PeerError as error:
        _abort(session)
        on_outcome(error.with_traceback(None))  # the traceback holds the callers: break the reference cycle
    except Exception:
        logger.exception("%s: failed to open a session", transport)
        _abort(session)
        on_outcome(server_failed_error())
    except BaseException:
        _abort(session)
        raise
    else:
        if not isinstance(opened, bool):
            return Opening(session, opened, on_outcome)
        _report(session, opened, on_outcome)
    return None


def _abort(session: BaseSession | None) -> None:
    if session is not None:
        session.abort(*SERVER_FAILED)


def abort_lost(session: BaseSession, exchange: Exchange) -> None:
    """Abort a session whose client has disconnected while ``on_open`` ran."""
    session.abort(*(CLIENT_CLOSED if exchange.connection_error is None else CONNECTION_BROKE))


def _report(session: S, accepted: bool, on_outcome: Callable[[S | PeerError], None]) -> None:
    """Call back with the outcome of an ``on_open`` that has returned."""
    if not accepted:
        note = f"{session}: on_open returned False"
        on_outcome(RefusedError(403, REFUSED.reason, note=note, label="application", is_for_every_transport=True))
        return
    try:
        on_outcome(session)
    except BaseException:
        session.abort(*SERVER_FAILED)
        raise


class Opening(Generic[S]):
    """An ``on_open`` that runs in a task.

    :ivar session: the session; the transport aborts it when the client disconnects.
    :ivar concluded: done when ``on_outcome`` was called.
    """

    __slots__ = ("_on_outcome", "_opened", "_timer", "concluded", "session")

    def __init__(self, session: S, opened: "asyncio.Task[bool]", on_outcome: Callable[[S | PeerError], None]) -> None:
        self.concluded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.session = session
        self._opened = opened
        self._on_outcome = on_outcome
        registry = session.registry
        self._timer = registry.loop.call_later(registry.settings.open_timeout, self._on_timeout)
        opened.add_done_callback(self._on_opened)

    def _on_opened(self, opened: "asyncio.Task[bool]") -> None:
        self._timer.cancel()
        if opened.cancelled():  # at shutdown; before its first step, perhaps: then it hasn't aborted the session
            self._fail(shutting_down_error())
        elif (error := opened.exception()) is not None:
            self._fail(error.with_traceback(None) if isinstance(error, PeerError) else HandlerError("connection"))
        else:
            self._call(_report, self.session, opened.result(), self._on_outcome)

    def _on_timeout(self) -> None:
        """Cancel ``on_open``, and do not wait for its end: it may catch the cancellation and go on."""
        seconds = self.session.registry.settings.open_timeout
        logger.warning("%s: cancelled on_open, it took longer than open_timeout (%g s)", self.session, seconds)
        # First: _on_opened would take the cancellation for a shutdown's, and call back a second time.
        self._opened.remove_done_callback(self._on_opened)
        self._opened.cancel()
        error = RefusedError(503, "on_open took longer than open_timeout", label="open_timeout")
        error.is_logged = True
        self._fail(error)

    def _fail(self, error: PeerError) -> None:
        self.session.abort(error.close_code, str(error))
        self._call(self._on_outcome, error)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call back with the outcome. In a callback of the event loop no caller is told of an error: it is logged."""
        try:
            callback(*arguments)
        except Exception:
            logger.exception("%s: failed to open", self.session)
        if not self.concluded.done():  # else cancelled with the task that awaited it
            self.concluded.set_result(None)
