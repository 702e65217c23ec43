"""The server for the benchmark of clients: a feed that speaks Socket.IO 0.6, on picows and uvloop, so that it is not
what limits a client.

It echoes payloads as they are; `!quotes` starts a stream of quotes, `!stop` ends it, and then `!heartbeats` is answered
with how many heartbeats were sent, and how many of them answered.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Final

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from benchmarks.clients.load import QUOTES, SESSION_ID, quote
from tornadio import proto

HEARTBEAT_SECONDS: Final = 0.1
_AT_ONCE: Final = 64


def frame(payload: str) -> bytes:
    """An unmasked WebSocket frame, RFC 6455, section 5.2."""
    data = payload.encode()
    size = len(data)
    assert size < 1 << 16
    return b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + data


FRAMES: Final = [frame(proto.encode(quote(number))) for number in range(QUOTES)]
BATCHES: Final = [b"".join(FRAMES[start : start + _AT_ONCE]) for start in range(0, QUOTES, _AT_ONCE)]


class FeedListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.is_streaming = self.is_paused = False
        self.batch = self.sent = self.answered = 0
        self.send(proto.encode(SESSION_ID))
        self.beat()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            payload = frame.get_payload_as_bytes()
            if b"!" in payload or b"~h~" in payload:
                for kind, content in proto.decode(payload.decode()):
                    self.answer(kind, content)
            else:
                transport.send(WSMsgType.TEXT, payload)

    def answer(self, kind: str, content: str) -> None:
        if kind == proto.HEARTBEAT:
            self.answered += 1
        elif content == "!quotes":
            self.is_streaming = True
            self.stream()
        elif content == "!stop":
            self.is_streaming = False
            self.timer.cancel()
            self.send(proto.encode("!stopped"))
        elif content == "!heartbeats":
            self.send(proto.encode(f"!{self.sent} sent, {self.answered} answered"))
        else:
            self.send(proto.encode(content))

    def beat(self) -> None:
        self.sent += 1
        self.send(proto.encode_heartbeat(self.sent))
        self.timer = asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, self.beat)

    def stream(self) -> None:
        if self.is_streaming and not self.is_paused:
            self.transport.underlying_transport.write(BATCHES[self.batch])
            self.batch = (self.batch + 1) % len(BATCHES)
            asyncio.get_running_loop().call_soon(self.stream)

    def send(self, payload: str) -> None:
        self.transport.send(WSMsgType.TEXT, payload.encode())

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self.stream()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.is_streaming = False
        self.timer.cancel()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    server = await ws_create_server(lambda request: FeedListener(), "127.0.0.1", arguments.port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
