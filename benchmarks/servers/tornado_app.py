"""Bare Tornado, what everything is compared to: the least that an echo and a broadcast can be, without any Socket.IO.

Over WebSocket, by long polling, and down streams whose parts look as those of xhr-multipart and htmlfile do.

--heartbeats has Tornado ping each WebSocket every so many seconds, --poll-timeout answers a poll after so many.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any
from urllib.parse import unquote_plus

import tornado.web
import tornado.websocket


class EchoSocket(tornado.websocket.WebSocketHandler):
    participants: set[EchoSocket] = set()

    def check_origin(self, origin: str) -> bool:
        return True

    def open(self, *args: str, **kwargs: str) -> None:
        self.participants.add(self)

    def on_message(self, message: str | bytes) -> None:
        assert isinstance(message, str)
        if message.startswith("b:"):
            for participant in self.participants:
                participant.write_message(message[2:])
        else:
            self.write_message(message)

    def on_close(self) -> None:
        self.participants.discard(self)


class Session:
    """What waits for a client that polls."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.poll: asyncio.Future[None] | None = None

    def send(self, payload: str) -> None:
        self.waiting.append(payload)
        if self.poll is not None and not self.poll.done():
            self.poll.set_result(None)


class PollHandler(tornado.web.RequestHandler):
    """Echoes payloads as they are: there is no framing, and no session ever expires."""

    sessions: dict[str, Session] = {}
    session: Session | None = None

    def initialize(self, timeout: float | None) -> None:
        self.timeout = timeout

    async def get(self, session_id: str) -> None:
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        if not session_id:
            session_id = f"{len(self.sessions) + 1:016x}"
            self.sessions[session_id] = Session()
            await self.finish(f"~m~16~m~{session_id}")
            return
        session = self.session = self.sessions[session_id]
        if not session.waiting:
            session.poll = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(session.poll, self.timeout)
            except TimeoutError:
                pass  # the response is empty
            except asyncio.CancelledError:
                return
        payload = "".join(session.waiting)
        session.waiting.clear()
        await self.finish(payload)

    def post(self, session_id: str) -> None:
        payload = self.get_body_argument("data")
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish("ok")
        self.sessions[session_id].send(payload)

    def compute_etag(self) -> None:
        return None

    def on_connection_close(self) -> None:
        if self.session is not None and self.session.poll is not None:
            self.session.poll.cancel()


class StreamHandler(tornado.web.RequestHandler):
    """Writes each message of a POST to all streams, with a `flush` each."""

    participants: set[StreamHandler] = set()

    def initialize(self, content_type: str, start: str, part: str) -> None:
        self.content_type = content_type
        self.start = start
        self.part = part
        self.closed = asyncio.Event()

    async def get(self, session_id: str) -> None:
        self.set_header("Content-Type", self.content_type)
        self.write(self.start)
        self.write(self.part.format("~m~16~m~0123456789abcdef"))
        await self.flush()
        self.participants.add(self)
        await self.closed.wait()

    def post(self, session_id: str) -> None:
        for message in unquote_plus(self.request.body.decode()).split("b:")[1:]:
            text = message.partition("~m~")[0]
            payload = f"~m~{len(text)}~m~{text}"
            for participant in self.participants:
                participant.write(participant.part.format(payload))
                participant.flush()
        self.finish("ok")

    def on_connection_close(self) -> None:
        self.participants.discard(self)
        self.closed.set()


MULTIPART: dict[str, Any] = {
    "content_type": 'multipart/x-mixed-replace;boundary="socketio"',
    "start": "--socketio\n",
    "part": "Content-Type: text/plain; charset=UTF-8\n\n{}\n--socketio\n",
}
HTMLFILE: dict[str, Any] = {
    "content_type": "text/html; charset=UTF-8",
    "start": "<html><body>".ljust(256),
    "part": '<script>parent.s._("{}", document);</script>',
}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--heartbeats", type=float)
    parser.add_argument("--poll-timeout", type=float)
    arguments = parser.parse_args()
    application = tornado.web.Application(
        [
            ("/ws", EchoSocket),
            ("/socket.io/xhr-polling/([0-9a-f]*)/.*", PollHandler, {"timeout": arguments.poll_timeout}),
            ("/socket.io/xhr-multipart/([0-9a-f]*)/.*", StreamHandler, MULTIPART),
            ("/socket.io/htmlfile/([0-9a-f]*)/.*", StreamHandler, HTMLFILE),
        ],
        websocket_ping_interval=arguments.heartbeats,
    )
    application.listen(arguments.port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
