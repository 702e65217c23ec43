"""docs/guide/threads.rst: threads that send, and work that they take."""

from __future__ import annotations

import re

from tests.documents.pages import Page
from tests.documents.programs import SO_FAR, connected, start_with

PAGE = Page("docs/guide/threads.rst")
CLOCK = PAGE.code("Sending from a thread")
REPORTS = PAGE.code("What takes long")


async def test_threads_send_and_take_what_is_slow(serve_program):
    report = "def make_report(message):\n    return f'{message}: {threading.current_thread().name}'\n"
    reports = "Reports = tornadio.get_router(Reports)\n"
    server = serve_program(SO_FAR + CLOCK + report + REPORTS + reports + start_with("ClockRouter", "Reports"))
    async with connected(server, "clock") as client:
        for _ in range(2):
            assert re.fullmatch("[0-9]{2}:[0-9]{2}:[0-9]{2}", await client.receive())
    async with connected(server) as client:
        await client.send("sales")
        made = await client.receive()
        assert made.startswith("sales: ")
        assert made != "sales: MainThread"
