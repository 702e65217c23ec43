"""The page of README.rst, with its server and the guide's with a login, as who copies them sees it, in each engine."""

from __future__ import annotations

import pytest

from tests import engines
from tests.documents.pages import Page, on_given_port
from tests.engines.expecting import expect

README = Page("README.rst")
SERVER = README.code("The smallest server")
PAGE = README.code("The smallest server", language="html")
LOGIN = Page("docs/guide/authentication.rst").code("A cookie")

# Neither of the servers has an icon.
pytestmark = [pytest.mark.engines(), pytest.mark.page_errors("favicon.ico")]


@pytest.fixture
def serve(app_server, tmp_path):
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    return lambda program: app_server(on_given_port(program))


def say(page: engines.Page, line: str) -> None:
    page.fill("input", line)
    page.press("input", "Enter")


def test_two_people_talk_on_the_smallest_server(serve, new_context):
    server = serve(SERVER)
    ann, bob = new_context().new_page(), new_context().new_page()
    for page in (ann, bob):
        page.goto(server.url)
    say(ann, "Hello 中😀")
    expect(bob.locator("p")).to_have_text(["Hello 中😀"])
    say(bob, "<b>Hello</b> Ann")
    for page in (ann, bob):
        expect(page.locator("p")).to_have_text(["Hello 中😀", "<b>Hello</b> Ann"])


def test_the_chat_with_a_login_knows_who_talks(serve, page):
    server = serve(LOGIN)
    page.goto(server.url)
    say(page, "Ann")
    page.wait_for_url(server.url + "/")
    say(page, "hello")
    expect(page.locator("p")).to_have_text(["Ann: hello"])
