"""The first frame of a connection: the session id, or what the application's ``greeting`` returns."""

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from tornadio import proto
from tornadio.closecodes import GREETING_FAILED
from tornadio.errors import CallerError, HandlerError
from tornadio.logs import get_logger
from tornadio.sessions.outbox import SinglePayload
from tornadio.sessions.state import State
from tornadio.settings import WEBSOCKETS

if TYPE_CHECKING:
    from tornadio.sessions.base import BaseSession

logger = get_logger(__name__)


def greet(session: "BaseSession") -> None:
    """Call ``greeting``, and put the frame of what it returns in the place of the session id, the first in the queue.

    That may end the session, as too slow, with more than ``max_send_buffer`` bytes queued.

    :raises HandlerError: ``greeting`` raised, is a coroutine, returned what can't be sent, or another frame than the
        client's transport needs. The session is aborted, and the log says why.
    """
    try:
        greeting = session.call_greeting()
        if isinstance(greeting, str) and greeting == session.session_id:
            return
        _check(greeting, session.transport)
        # A list would be several frames: here it is JSON.
        message = tuple(greeting) if isinstance(greeting, list) else greeting
        frame = proto.encode(message, session.registry.settings.json)
    except (Exception, asyncio.CancelledError):  # the latter raised by a plain function is an error like others
        logger.exception("%s: greeting failed", session)
        session.abort(*GREETING_FAILED)
        raise HandlerError("connection") from None
    except BaseException:
        session.abort(*GREETING_FAILED)
        raise
    if session.state is not State.CLOSED:  # by what greeting has sent
        session.replace_head(SinglePayload(frame, 0) if frame else None)
        if session.exceeds_limit():
            session.abort_too_slow()


def _check(greeting: Any, transport: str) -> None:
    """Check that the first frame may be another than the session id.

    :raises CallerError: it may not; says what to do.
    """
    if inspect.isawaitable(greeting):
        if inspect.iscoroutine(greeting):
            greeting.close()
        raise CallerError("greeting can't be async: await in on_open, and keep in self what it is to return")
    if transport not in WEBSOCKETS:
        raise CallerError(
            f"greeting must return self.session_id over {transport}, whose clients name it in their requests; to greet "
            "with something else, set enabled_protocols to websocket and flashsocket, or one of them"
        )
