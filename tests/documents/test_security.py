"""docs/security.rst: its worked example keeps its rules."""

from __future__ import annotations

import shlex

import pytest
from tornado.web import create_signed_value

from tests.documents.pages import REPOSITORY, Page
from tests.documents.programs import connected, status_of

PAGE = Page("docs/security.rst")
LONG_RUNS = PAGE.code("How it is tested", language="bash")


@PAGE.runs("What is left to you")
async def test_a_room_admits_members_who_keep_the_rules(serve_program, code, monkeypatch):
    monkeypatch.setenv("COOKIE_SECRET", "of the test")
    server = serve_program(code)
    ann, bob = (f"member={create_signed_value('of the test', 'member', name).decode()}" for name in ("Ann", "Bob"))

    async with connected(server, Cookie=ann), connected(server, Cookie=ann):
        async with connected(server, Cookie=ann):
            assert await status_of(server, "/socket.io/xhr-polling/", Cookie=ann) == 403
        # Its place is free again as soon as the server has noticed.
        while await status_of(server, "/socket.io/xhr-polling/", Cookie=ann) == 403:
            pass
    async with connected(server, Cookie=ann) as first, connected(server, Cookie=bob) as second:
        await first.send("hello")
        assert await second.receive() == await first.receive() == "Ann: hello"
        await second.send({"no": "text"})
        await second.send("x" * 501)
        for number in range(18):
            await second.send(str(number))
            assert await second.receive() == await first.receive() == f"Bob: {number}"
        await second.send("one too many")
        assert await second.receive() == "Too many messages, good bye."
        await second.close_code()
    for cookie in ("", "member=Ann", ann[:-1]):
        assert await status_of(server, "/socket.io/xhr-polling/", Cookie=cookie) == 403
    assert "Traceback" not in server.output()


@pytest.mark.pure
def test_the_long_runs_have_their_tests_and_options(pytestconfig):
    """They are not run: each takes an hour, or many minutes."""
    for line in LONG_RUNS.splitlines():
        script, tests, *options = shlex.split(line)
        assert (REPOSITORY / script).is_file()
        assert (REPOSITORY / tests).exists()
        if options:
            name, seconds = options
            assert float(seconds) > pytestconfig.getoption(name)
