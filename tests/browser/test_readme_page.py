"""The page of README.rst with its servers, as somebody sees it who copies them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.readme import code_blocks, on_given_port

PYTHON = code_blocks("python")
PAGE = code_blocks("html")["TornadIO", 0]

# Nothing in the README serves an icon.
pytestmark = pytest.mark.page_errors("favicon.ico")


@pytest.fixture
def serve(app_server, tmp_path):
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    return lambda program: app_server(on_given_port(program))


def say(page: Page, line: str) -> None:
    page.fill("input", line)
    page.press("input", "Enter")


def test_two_people_talk_on_the_smallest_server(serve, new_context):
    server = serve(PYTHON["TornadIO", 0])
    ann, bob = new_context().new_page(), new_context().new_page()
    for page in (ann, bob):
        page.goto(server.url)
    say(ann, "Hello 中😀")
    expect(bob.locator("p")).to_have_text(["Hello 中😀"])
    say(bob, "<b>Hello</b> Ann")
    for page in (ann, bob):
        expect(page.locator("p")).to_have_text(["Hello 中😀", "<b>Hello</b> Ann"])


def test_the_chat_with_a_login_knows_who_talks(serve, page):
    server = serve(PYTHON["Authentication", 0])
    page.goto(server.url)
    say(page, "Ann")
    page.wait_for_url(server.url + "/")
    say(page, "hello")
    expect(page.locator("p")).to_have_text(["Ann: hello"])
