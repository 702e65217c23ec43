"""What the programs have in common that tests start as servers: options, handlers, and the way to serve."""

from __future__ import annotations

import collections
import ssl
from collections.abc import Callable
from typing import Any

import tornado.options
import tornado.web

import tornadio
from tests.vitals import VitalsHandler

# Of every session of an Echo that has ended: how often its on_close has run.
closed: collections.Counter[str] = collections.Counter()


class Echo(tornadio.SocketConnection):
    def on_message(self, message: Any) -> Any:
        self.send(message)

    def on_close(self) -> Any:
        closed[self.session_id] += 1


class ReportHandler(tornado.web.RequestHandler):
    def initialize(self, report: Callable[[], dict[str, Any]]) -> None:
        self._report = report

    def get(self) -> None:
        self.write(self._report())


def report_at(path: str, report: Callable[[], dict[str, Any]]) -> Any:
    """A rule: the path is answered with what `report` returns."""
    return path, ReportHandler, {"report": report}


def vitals_of(router: tornadio.Router) -> Any:
    """A rule: `/vitals` is answered with the vitals of the process."""
    return r"/vitals", VitalsHandler, {"router": router}


def options_of(**defaults: Any) -> Any:
    """The program's options: `--port`, and these, of the types of their defaults."""
    tornado.options.define("port", type=int)
    for name, default in defaults.items():
        tornado.options.define(name, default=default)
    tornado.options.parse_command_line()
    return tornado.options.options


def serve(
    *rules: Any,
    port: int,
    address: str = "127.0.0.1",
    certificate: str = "",
    settings: dict[str, Any] | None = None,
    server_class: type[tornadio.SocketServer] = tornadio.SocketServer,
    **arguments: Any,
) -> None:
    """Serve an application with these rules and `settings` until a signal comes, over TLS where a certificate is named.

    What else is given is SocketServer's.
    """
    application = tornado.web.Application(
        list(rules), socket_io_port=port, socket_io_address=address, **(settings or {})
    )
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        arguments["ssl_options"] = context
    server_class(application, **arguments)
