"""The ``HTTPServerRequest`` of a request that Tornado's HTTP has not read, for applications.

It depends on more of Tornado than is documented: that ``HTTPServerRequest(connection=...)`` takes an object that has a
``context`` alone, and that its constructor sets all attributes but those set here.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from tornadio.web.peers import Client


class _Connection(NamedTuple):
    """The part of an HTTP connection that ``HTTPServerRequest`` reads: the client is the context."""

    context: Client

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Do nothing. The constructor of ``RequestHandler`` calls this: applications make one of the request that
        ``on_open`` gets, to read a signed cookie.
        """


class ContextRequest(HTTPServerRequest):
    """An ``HTTPServerRequest``, as ``on_open`` gets it, for a request that Tornado's HTTP has not read.

    It is parsed when an application first looks into it: to parse it for nobody would take a sixth of the time in which
    a connection is opened.

    :param client: the client that has sent it.
    :param started: when it was received, in ``time.time()``.
    """

    def __init__(self, method: str, uri: str, headers: Mapping[str, str], client: Client, started: float) -> None:
        path, _, query = uri.partition("?")
        # Not by assignment, which would parse it. Tornado's class may have values of its own for path and query.
        vars(self).update(
            connection=_Connection(client), path=path, query=query, _started=started, _unparsed=(method, uri, headers)
        )

    def parse(self) -> None:
        """Make all attributes that an ``HTTPServerRequest`` has, once.

        :raises HTTPInputError: the query is none that Tornado accepts.
        """
        unparsed = vars(self).pop("_unparsed", None)
        if unparsed is None:
            return
        method, uri, headers = unparsed
        tornado_headers = HTTPHeaders()
        for name, value in headers.items():
            tornado_headers.add(name, value)
        super().__init__(
            start_line=RequestStartLine(method, uri, "HTTP/1.1"), headers=tornado_headers, connection=self.connection
        )

    def __getattr__(self, name: str) -> Any:
        """Called for an attribute that is not there: it may be as soon as the request is parsed."""
        if "_unparsed" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.parse()
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.parse()  # else it would replace what an application has set
        super().__setattr__(name, value)

    def request_time(self) -> float:
        started: float = vars(self)["_started"]
        return time.time() - started

    def get_ssl_certificate(self, binary_form: bool = False) -> None:
        """Return ``None``: such a request came without TLS."""
