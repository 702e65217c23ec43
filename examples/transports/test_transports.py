"""Tests of the transports example, with what TornadIO has for that: see docs/testing.rst. `python3 -m pytest` runs
them.
"""

from typing import Any

import pytest
from transports import EchoRouter

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("transport", ["websocket", "xhr-multipart", "xhr-polling", "jsonp-polling", "htmlfile"])
async def test_each_transport_says_its_name_and_echoes(tornadio_serve: Any, transport: str) -> None:
    server = await tornadio_serve(EchoRouter)
    async with server.connect(transports=[transport]) as socket:
        assert await socket.recv() == f"Hello! This connection is {transport}. Whatever you say, I send back."
        await socket.send("é中😀")
        assert await socket.recv() == "é中😀"


async def test_everybody_gets_their_own_words_alone(tornadio_serve: Any) -> None:
    server = await tornadio_serve(EchoRouter)
    async with server.connect() as ann, server.connect() as bob:
        for socket in (ann, bob):
            await socket.recv()
        await ann.send("of Ann")
        await bob.send("of Bob")
        assert await bob.recv() == "of Bob"
        assert await ann.recv() == "of Ann"
