"""The states of a session, and who is told that they change."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import Any

import pytest

import tornadio
from tests.support import MovedLoop, Recorder
from tornadio.closecodes import SHUTDOWN
from tornadio.sessions.base import BaseSession
from tornadio.sessions.groups import Groups
from tornadio.sessions.persistent import PersistentSession
from tornadio.sessions.polling import PollingSession
from tornadio.sessions.registry import SessionRegistry
from tornadio.sessions.state import TRANSITIONS, State
from tornadio.settings import make_settings

ORDER = list(State)
ALLOWED = list(itertools.combinations(ORDER, 2))  # forward only
FORBIDDEN = [(old, new) for old in ORDER for new in ORDER if (old, new) not in ALLOWED]


class Line:
    """A channel whose socket takes everything at once."""

    def write(self, payload: Any) -> None: ...

    def close(self, code: int, reason: str) -> None: ...

    def replaced(self) -> None: ...

    def abort(self) -> None: ...


@pytest.fixture
async def registry(clock: MovedLoop) -> SessionRegistry:
    return SessionRegistry(make_settings(None), clock)


def in_state(
    registry: SessionRegistry, state: State, session_class: type[BaseSession] = PersistentSession
) -> BaseSession:
    session = registry.create(session_class, Recorder(), "websocket")
    for step in ORDER[1 : ORDER.index(state) + 1]:
        session._set_state(step)
    return session


def pairs_of(pairs: list[tuple[State, State]]) -> Any:
    names = [f"{old.value}-{new.value}" for old, new in pairs]
    return pytest.mark.parametrize(("old", "new"), pairs, ids=names)


def test_every_state_has_its_successors():
    assert list(TRANSITIONS) == ORDER


@pairs_of(ALLOWED)
async def test_a_session_goes_forward(registry, old, new):
    session = in_state(registry, old)
    session._set_state(new)
    assert (session.state, session.is_closed) == (new, new in (State.CLOSING, State.CLOSED))


@pairs_of(FORBIDDEN)
async def test_a_session_never_goes_back_nor_enters_a_state_twice(registry, old, new):
    session = in_state(registry, old)
    with pytest.raises(AssertionError, match=str(new)):
        session._set_state(new)
    assert session.state is old


def test_the_state_changes_in_one_place():
    """By the source, and not by a property: asking for the state is on the way of each connection."""
    changes = []
    for path in sorted(Path(tornadio.__file__).parent.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                changes += [
                    f"{path.name}: {function.name}"
                    for node in ast.walk(function)
                    if isinstance(node, ast.Attribute) and node.attr == "state" and isinstance(node.ctx, ast.Store)
                ]
    assert changes == ["base.py: __init__", "base.py: _set_state"]


# -- Observers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["close", "abort"])
@pytest.mark.parametrize("session_class", [PersistentSession, PollingSession])
async def test_observers_are_told_of_an_end_once_at_its_beginning(registry, session_class, ending):
    told: list[tuple[str, BaseSession, bool, list[str]]] = []
    connection = Recorder()

    def note(name: str) -> Any:
        return lambda session: told.append(
            (name, session, session.is_closed, [event[0] for event in connection.events])
        )

    registry.on_closing += [note("first"), note("second")]
    session = registry.create(session_class, connection, "websocket")
    assert session.open(None, "") is True
    assert told == []
    getattr(session, ending)(*SHUTDOWN)
    session.attach(Line())  # what is queued is delivered: a closing session is closed
    session.abort(*SHUTDOWN)
    await connection.wait_closed()
    assert session.state is State.CLOSED
    assert told == [(name, session, True, ["open"]) for name in ("first", "second")]


async def test_observers_are_told_of_the_end_of_a_session_that_never_was_open(registry):
    opened: list[BaseSession] = []
    closing: list[BaseSession] = []
    registry.on_open.append(opened.append)
    registry.on_closing.append(closing.append)
    session = registry.create(PersistentSession, Recorder(), "websocket")
    session.abort(*SHUTDOWN)
    assert (opened, closing) == ([], [session])


async def test_observers_are_told_of_an_open_session_once(registry):
    told: list[tuple[str, BaseSession, State]] = []
    registry.on_open.append(lambda session: told.append(("first", session, session.state)))
    registry.on_open.append(lambda session: told.append(("second", session, session.state)))
    session = registry.create(PersistentSession, Recorder(), "websocket")
    assert told == []
    session.open(None, "")
    session.close()
    assert told == [(name, session, State.OPEN) for name in ("first", "second")]


async def test_all_groups_of_a_registry_see_the_end(registry):
    groups = [Groups(registry, None).get("blue") for _ in range(2)]
    connection = Recorder()
    session = registry.create(PersistentSession, connection, "websocket")
    session.open(None, "")
    for group in groups:
        group.add(connection)
    session.close()
    assert [len(group) for group in groups] == [0, 0]
