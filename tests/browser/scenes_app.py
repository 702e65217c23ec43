"""The server of the scenes (scenes.py): pages, and a record of what each session received and when it ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import tornado.web

import tornadio
from tests.app import options_of, report_at, serve

PAGE = Path(__file__).with_name("scenes_page.html")

opened: dict[str, str] = {}  # by session id: the transport
closed: dict[str, float] = {}  # by session id: when its on_close ran, as time.time() has it
received: list[tuple[str, Any]] = []  # session ids and messages, in the order of all arrivals
asked: list[str] = []  # what was asked for of what is no page


class Connection(tornadio.SocketConnection):
    def on_open(self, *args: Any, **kwargs: Any) -> None:
        opened[self.session_id] = str(self.transport)

    def on_message(self, message: Any) -> None:
        received.append((self.session_id, message))
        self.send(message)

    def on_close(self) -> None:
        assert self.session_id not in closed
        closed[self.session_id] = time.time()


class PageHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(PAGE.read_text(encoding="utf-8"))


class NoUnloadPageHandler(PageHandler):
    """The page, with a policy of Chromium's: nothing in it hears of `unload`."""

    def set_default_headers(self) -> None:
        self.set_header("Permissions-Policy", "unload=()")


class OtherPageHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("<!DOCTYPE html><title>Another page</title><link rel=icon href=data:,><p>Another page")


class DownloadHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        asked.append("download")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", 'attachment; filename="numbers.bin"')
        self.write(b"0123456789")


class NothingHandler(tornado.web.RequestHandler):
    """Whoever follows a link to this stays on the page."""

    def get(self) -> None:
        asked.append("nothing")
        self.set_status(204)


def main() -> None:
    routers = (
        tornadio.get_router(Connection),
        tornadio.get_router(
            Connection, {"heartbeat_interval": 0.5, "session_expiry": 2, "session_check_interval": 0.5}, "brisk"
        ),
    )
    serve(
        *(router.route() for router in routers),
        report_at(
            "/report",
            lambda: {
                "connections": sum(len(router.connections) for router in routers),
                "opened": opened,
                "closed": closed,
                "received": received,
                "asked": asked,
            },
        ),
        (r"/no-unload", NoUnloadPageHandler),
        (r"/other", OtherPageHandler),
        (r"/download", DownloadHandler),
        (r"/nothing", NothingHandler),
        (r"/", PageHandler),
        port=options_of().port,
        address="",
    )


if __name__ == "__main__":
    main()
