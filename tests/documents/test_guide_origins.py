"""docs/guide/origins.rst: a list of origins, and the names of hosts that it gives."""

from __future__ import annotations

from tests.documents.pages import Page
from tests.documents.programs import SO_FAR, start_with, status_of

PAGE = Page("docs/guide/origins.rst")


@PAGE.runs("Origins: which pages")
async def test_a_list_of_origins_is_all_that_there_is(serve_program, code):
    server = serve_program(SO_FAR + code + start_with("PublicRouter"))

    async def status(origin: str, host: str = "localhost") -> int:
        return await status_of(server, "/socket.io/xhr-polling/", Origin=origin, Host=f"{host}:{server.port}")

    for origin in ("http://www.example.com:8080", "https://www.example.com", "https://chat.example.org"):
        assert await status(origin) == 200
    for origin in (server.url, "http://chat.example.org", "https://example.org", "https://www.example.net", "null"):
        assert await status(origin) == 403
    # The hosts in the list are the names that the server may be asked for by.
    assert await status("https://www.example.com", "www.example.com") == 200
    assert await status("https://www.example.com", "www.example.net") == 403


@PAGE.runs("Apps, extensions and files")
async def test_an_app_is_let_in_beside_the_sites_own_pages(serve_program, code):
    server = serve_program(SO_FAR + code + start_with("AppRouter"))

    async def status(**headers: str) -> int:
        return await status_of(server, "/socket.io/xhr-polling/", **headers)

    for origin in ("http://www.example.com", "capacitor://localhost", "ionic://localhost"):
        assert await status(Origin=origin) == 200
    for origin in ("null", "capacitor://elsewhere", "app://.", "http://localhost:1"):
        assert await status(Origin=origin) == 403
