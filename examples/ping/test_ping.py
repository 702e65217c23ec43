"""Tests of the ping example, with what TornadIO has for that: see docs/testing.rst. `python3 -m pytest` runs them."""

from typing import Any

import pytest
from ping import PingRouter

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("transport", ["websocket", "xhr-multipart", "xhr-polling", "jsonp-polling", "htmlfile"])
async def test_what_the_page_sends_comes_back(tornadio_serve: Any, transport: str) -> None:
    server = await tornadio_serve(PingRouter)
    async with server.connect(transports=[transport]) as socket:
        for payload in ("1", "x" * 100_000, "é中😀" * 100):
            await socket.send(payload)
            assert await socket.recv() == payload
