"""docs/compatibility.rst: its feed greets as the page says. The table of engines: tests/test_engines.py."""

from __future__ import annotations

from typing import Any

import pytest

import tornadio
from tests.documents.pages import Page
from tests.support import limit
from tornadio import testing

PAGE = Page("docs/compatibility.rst")


@PAGE.runs("Market-data clients")
async def test_a_feed(code):
    names: dict[str, Any] = {"tornadio": tornadio}
    exec(code, names)
    options: dict[str, Any] = {"first_frame": "message", "json": "plain", "transports": ["websocket"]}
    async with limit(), testing.serve(names["router"]) as server:
        async with server.connect(origin="https://data.example.com", **options) as feed:
            [connection] = server.connections
            assert await feed.recv() == {"session_id": connection.session_id, "protocol": "json"}
            connection.send({"price": 17})
            assert await feed.recv() == {"price": 17}
        with pytest.raises(tornadio.ConnectError):
            await server.connect(origin="https://evil.example", **options)
