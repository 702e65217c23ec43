"""The client's side of the library's WebSocket layer, handshake and framing, behind an echo: it runs the cases of a
fuzzing server of the Autobahn testsuite, one after another. Arguments: the server's port, and the agent's name; its
messages are compressed, with context takeover if the name says so.
"""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import quote

from tornado.httputil import HTTPHeaders

from tornadio.settings import Compression
from tornadio.websocket import rfc6455


class EchoClient:
    """One connection. What is received goes back, and is remembered: a case count is a message."""

    def __init__(self, port: int, compression: Compression) -> None:
        self.received: list[str | bytes] = []
        self._port = port
        self._compression = compression

    async def run(self, path: str) -> None:
        """Shake hands, and echo until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            framer = await self._shake_hands(path, reader, writer)
            while (data := await reader.read(1 << 16)) and not framer.closed:
                self._echo(framer, framer.feed(data), writer)
                while framer.has_more:
                    self._echo(framer, framer.feed(b""), writer)
                if framer.error is not None:
                    writer.write(framer.close(framer.error.close_code, str(framer.error)))
                    writer.write_eof()
                await writer.drain()
        except OSError:
            pass  # some cases end with a reset
        finally:
            writer.close()

    async def _shake_hands(
        self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> rfc6455.ClientFramer:
        key = rfc6455.new_key()
        headers = {"Host": f"127.0.0.1:{self._port}", **rfc6455.client_request_headers(key, self._compression)}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        status, _, rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").partition("\r\n")
        assert " 101 " in status, status
        deflate = rfc6455.check_client_response(HTTPHeaders.parse(rest), key, self._compression)
        return rfc6455.ClientFramer(64 << 20, deflate)

    def _echo(self, framer: rfc6455.ClientFramer, messages: list[str | bytes], writer: asyncio.StreamWriter) -> None:
        if framer.has_data_to_send and not framer.closed:
            writer.write(framer.data_to_send())
        for message in messages:
            self.received.append(message)
            writer.write(framer.encode(message))
        if framer.has_data_to_send:
            writer.write(framer.data_to_send())


async def main(port: int, agent: str) -> None:
    compression = Compression(threshold=0, context_takeover="takeover" in agent)
    counting = EchoClient(port, compression)
    await counting.run("/getCaseCount")
    for number in range(1, int(counting.received[0]) + 1):
        await EchoClient(port, compression).run(f"/runCase?case={number}&agent={quote(agent)}")
    await EchoClient(port, compression).run(f"/updateReports?agent={quote(agent)}")


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
