"""docs/security.rst: the long runs that it names."""

from __future__ import annotations

import shlex

import pytest

from tests.documents.pages import REPOSITORY, Page

PAGE = Page("docs/security.rst")
LONG_RUNS = PAGE.code("How it is tested", language="bash")


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
