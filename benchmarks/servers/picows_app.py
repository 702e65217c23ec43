"""picows, which is Cython, on uvloop, as its authors run it."""

from __future__ import annotations

import argparse

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server


class EchoListener(WSListener):
    participants: set[WSTransport] = set()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.participants.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            message = frame.get_payload_as_bytes()
            if message.startswith(b"b:"):
                for participant in self.participants:
                    participant.send(WSMsgType.TEXT, message[2:])
            else:
                transport.send(WSMsgType.TEXT, message)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.participants.discard(transport)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    server = await ws_create_server(lambda request: EchoListener(), "127.0.0.1", arguments.port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
