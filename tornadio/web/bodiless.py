"""Tornado handlers that keep nothing of a request's body."""

from typing import Final, cast

import tornado.web
from tornado.http1connection import HTTP1Connection

# Bytes of a body that are read before the response, on a request that needs no body.
_MAX_BODY: Final = 1 << 16


@tornado.web.stream_request_body
class BodilessHandler(tornado.web.RequestHandler):
    """Discards a request's body. One of more than 64 KiB is not read: Tornado responds 400, and closes."""

    def prepare(self) -> None:
        cast(HTTP1Connection, self.request.connection).set_max_body_size(_MAX_BODY)

    def data_received(self, chunk: bytes) -> None:
        """Discard a piece of the body."""


@tornado.web.stream_request_body
class NotFoundHandler(tornado.web.ErrorHandler):
    """Responds 404 where the application has no handler, as Tornado's own, but keeps no body of 100 MB for that."""

    def initialize(self) -> None:  # type: ignore[override]
        super().initialize(404)

    def prepare(self) -> None:
        """Do nothing. The base class responds at this point: before the end of the body a response might not arrive."""

    def data_received(self, chunk: bytes) -> None:
        """Discard a piece of the body."""

    def get(self) -> None:
        raise tornado.web.HTTPError(404)

    head = post = put = patch = delete = options = get
