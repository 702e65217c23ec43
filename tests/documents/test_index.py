"""docs/index.rst: the start page shows what README does, whose tests run it."""

from __future__ import annotations

import pytest

from tests.documents.pages import Page

PAGE = Page("docs/index.rst")
README = Page("README.rst")
BLOCKS = [("See it work", "bash"), ("The smallest server", "python"), ("The smallest server", "html")]
SHOWN = [PAGE.code(section, language=language) for section, language in BLOCKS]


@pytest.mark.pure
def test_the_start_page_shows_what_runs():
    assert [README.code(section, language=language) for section, language in BLOCKS] == SHOWN
