"""Handlers for requests whose bodies say nothing."""

from typing import Final, cast

import tornado.web
from tornado.http1connection import HTTP1Connection

# What comes with a request that needs no body is a mistake, and this much of it is read on the way to the answer.
_MAX_BODY: Final = 1 << 16


@tornado.web.stream_request_body
class BodilessHandler(tornado.web.RequestHandler):
    """Keeps nothing of a request's body. One of more than 64 KiB is not read: it is answered 400 by Tornado, and its
    connection closed.
    """

    def prepare(self) -> None:
        cast(HTTP1Connection, self.request.connection).set_max_body_size(_MAX_BODY)

    def data_received(self, chunk: bytes) -> None:
        """A body says nothing here, and is not kept."""
