"""docs/guide/connections.rst: the class of the page, its clients that read slowly, and its test."""

from __future__ import annotations

from tests.documents.pages import Page
from tests.documents.programs import SO_FAR, connected, start_with
from tests.pytestruns import AUTO, run_pytest

PAGE = Page("docs/guide/connections.rst")
CLASS = PAGE.code("The three methods")
SETTINGS = PAGE.code("A test", language="ini")


@PAGE.runs("The three methods", 0)
async def test_the_three_methods(serve_program, code):
    program = SO_FAR + "import logging\nlogging.basicConfig(level=logging.INFO)\n" + code
    server = serve_program(program + start_with("tornadio.get_router(MyConnection)"))
    async with connected(server) as client:
        assert await client.receive() == "Welcome!"
        for message in ("hi", {"do": "something slow"}):
            await client.send(message)
            assert await client.receive() == "Here you are:"
            assert await client.receive() == {"you said": message}
            assert await client.receive() == "Something was said over websocket"
    assert server.terminate() == 0
    assert f"Gone: {client.session_id}" in server.output()


@PAGE.runs("Clients that read slowly", 0)
async def test_a_feed_waits_for_its_client(serve_program, code):
    settings = '{"max_send_buffer": 100_000}'
    server = serve_program(SO_FAR + code + start_with(f"tornadio.get_router(Feed, {settings})"))
    async with connected(server) as client:
        for number in range(100_000):
            assert await client.receive() == str(number)


@PAGE.runs("A test")
def test_a_test_of_the_class(code, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "server.py").write_text(CLASS, encoding="utf-8")
    (project / "test_chat.py").write_text(code, encoding="utf-8")
    run = run_pytest(tmp_path, project, settings=f"{AUTO}\npythonpath = project")
    assert run.returncode == 0, run.stdout
    assert "1 passed" in run.stdout
