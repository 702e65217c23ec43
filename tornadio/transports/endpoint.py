"""The context that all requests to one router share, and the parsed path of each."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from tornadio.conn import SocketConnection
from tornadio.observability.accesslog import log_request
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import Settings
from tornadio.web.hosts import HostRule
from tornadio.web.origins import OriginRule


@dataclasses.dataclass(slots=True, eq=False)
class Endpoint:
    """The context that a router gives the handlers of its requests. The router replaces settings and rules, before it
    is served, if its application has some of its settings.

    :ivar resource: the first part of the router's paths, without slashes around it.
    :ivar make_connection: makes the application's object for a client.
    :ivar settings: the router's.
    :ivar origins: which pages may connect.
    :ivar hosts: names that clients may ask for this server by, in their ``Host`` header.
    :ivar sessions: the router's sessions.
    :ivar log_request: the application's ``log_function``, called with the handler of each request that was answered.
    """

    resource: str
    make_connection: Callable[[], SocketConnection]
    settings: Settings
    origins: OriginRule
    hosts: HostRule
    sessions: SessionRegistry
    log_request: Callable[[Any], None] = log_request


class TransportPath(NamedTuple):
    """The parts of a request's path besides the resource and the transport's name, percent-decoded.

    :ivar session_id: the part behind the transport's name; empty in a request for a new session, as each to a WebSocket
        transport is.
    :ivar tail: all that follows the session id.
    :ivar extra: the part between resource and transport, which ``extra_re`` matched.
    """

    session_id: str = ""
    tail: str = ""
    extra: str = ""
