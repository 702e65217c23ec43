"""docs/tutorial/5-tests.rst: the tests of the chat pass, and fail when the chat is broken."""

from __future__ import annotations

from collections.abc import Callable

from tests.documents.pages import Page
from tests.documents.tutorial import Reader

PAGE = Page("docs/tutorial/5-tests.rst")
COPY = PAGE.code("5. Tests", language="console")
FAILING = PAGE.code("A clock that moves", 0, language="console")
PASSING = PAGE.code("A clock that moves", 1, language="console")
for _name in ("pytest.ini", "test_chat.py", "server.py"):
    PAGE.file(f"docs/tutorial/code/5-tests/{_name}")

# Mistakes, and the test that each of them has to fail.
MISTAKES = {
    "test_nonsense_is_a_problem_for_nobody_else": (" if name in ROOMS", ""),  # the page's own
    "test_who_is_in_a_room_hears_what_is_said_there": ("room.discard(self)", "pass"),
    "test_who_comes_later_sees_what_was_said": ("said[self.room.name].append(message)", "pass"),
    "test_nobody_comes_in_without_a_login": ("return self.name is not None", "return True"),
}


def test_the_tests_fail_first_and_then_pass(reader_at: Callable[[int], Reader]) -> None:
    reader = reader_at(5)
    reader.type(COPY)
    reader.type(FAILING, status=1)
    reader.type(PASSING)


def test_mistakes_fail_the_tests(reader_at: Callable[[int], Reader]) -> None:
    reader = reader_at(6)
    server = reader.project / "server.py"
    program = server.read_text(encoding="utf-8")
    for right, wrong in MISTAKES.values():
        assert right in program
        program = program.replace(right, wrong)
    server.write_text(program, encoding="utf-8")
    output = reader.type("$ .venv/bin/pytest -q --tb=line", status=1)
    assert [test for test in MISTAKES if f"FAILED test_chat.py::{test}" not in output] == []
