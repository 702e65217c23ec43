"""docs/guide/feeds.rst: a feed without marks and session ids."""

from __future__ import annotations

import asyncio

import tornadio
from tests.documents.pages import Page
from tests.documents.programs import SO_FAR, WAIT_SECONDS, start_with, status_of

PAGE = Page("docs/guide/feeds.rst")


@PAGE.runs("Feeds of market data")
async def test_a_feed_without_marks_and_session_ids(serve_program, code):
    server = serve_program(SO_FAR + code + start_with("FeedRouter"))
    options = {"first_frame": "message", "json": "plain", "transports": ["websocket"]}
    feed = tornadio.connect(server.url + "/socket.io", origin="https://www.example.com", **options)  # type: ignore[arg-type]
    async with asyncio.timeout(WAIT_SECONDS), feed as socket:
        greeting = await socket.recv()
        assert greeting == {"session_id": greeting["session_id"], "release": "1.1"}
        await socket.send({"symbols": ["😀"]})
        assert await socket.recv() == {"you said": {"symbols": ["😀"]}}
    assert await status_of(server, "/socket.io/xhr-polling/") == 403
