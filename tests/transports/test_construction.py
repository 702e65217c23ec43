"""How a connection class is called for a client: without arguments, or with those of TornadIO 0.0.5."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tornado.ioloop import IOLoop

import tornadio
from tests.clients import open_client
from tests.internals import factory_of
from tests.support import Recorder
from tornadio import SocketConnection, proto
from tornadio.errors import SettingsError
from tornadio.settings import PROTOCOLS

given: list[Any] = []  # what the constructors below got


@pytest.fixture(autouse=True)
def _nothing_given() -> None:
    given.clear()


class Untouched(SocketConnection):
    pass


class WithoutArguments(SocketConnection):
    def __init__(self):
        given.append(())


class WithDefaults(SocketConnection):
    def __init__(self, first=1, second=2, third=3):
        given.append((first, second, third))


class WithKeywords(SocketConnection):
    def __init__(self, **kwargs):
        given.append(kwargs)


class OfOriginal(SocketConnection):
    def __init__(self, protocol, io_loop, heartbeat_interval):
        super().__init__(protocol, io_loop, heartbeat_interval)
        given.append((protocol, io_loop, heartbeat_interval))


class OfOriginalByOtherNames(SocketConnection):
    def __init__(self, p, loop, beat, color="red"):
        super().__init__(p, loop, beat)
        given.append((p, loop, beat))
        assert color == "red"


class OfOriginalByPosition(SocketConnection):
    def __init__(self, p, loop, beat, /):
        SocketConnection.__init__(self, p, loop, beat)
        given.append((p, loop, beat))


class OfOriginalWithDefaults(SocketConnection):
    def __init__(self, protocol=None, io_loop=None, heartbeat_interval=None):
        super().__init__(protocol, io_loop, heartbeat_interval)
        given.append((protocol, io_loop, heartbeat_interval))


class WithAnything(SocketConnection):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        given.append(args)
        assert not kwargs


class WithTheFirst(SocketConnection):
    def __init__(self, protocol, *rest):
        super().__init__(protocol, *rest)
        given.append((protocol, *rest))


class ByKeyword(SocketConnection):
    def __init__(self, *, protocol, io_loop, heartbeat_interval):
        super().__init__(protocol=protocol, io_loop=io_loop, heartbeat_interval=heartbeat_interval)
        given.append((protocol, io_loop, heartbeat_interval))


class PartlyByKeyword(SocketConnection):
    def __init__(self, protocol, *, heartbeat_interval, io_loop):
        given.append((protocol, io_loop, heartbeat_interval))


class Mixin:
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        given.append(args)


class WithMixin(Mixin, SocketConnection):
    pass


class OfOriginalInherited(OfOriginal):
    pass


class PassesOn(WithoutArguments):
    """What it is called with goes to a constructor that takes nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class PassesOnToDefaults(WithDefaults):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class PassesOnToOriginal(OfOriginalByOtherNames):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class CountsItsObjects(WithoutArguments):
    def __new__(cls, *args: Any, **kwargs: Any) -> CountsItsObjects:
        return super().__new__(cls)


class Compiled(WithoutArguments):
    """As a compiled class may be: nothing is known of its arguments."""

    __signature__ = "none"


class NotImported:
    """From Python 3.14 on a signature evaluates annotations, some of which only type checkers can."""

    def __get__(self, instance: object, owner: type) -> str:
        raise NameError("name 'Database' is not defined")


class AnnotatedForCheckers(WithoutArguments):
    __signature__ = NotImported()


class MadeByNew(SocketConnection):
    def __new__(cls, protocol, io_loop, heartbeat_interval):
        given.append((protocol, io_loop, heartbeat_interval))
        return super().__new__(cls)


OF_ORIGINAL = [
    OfOriginal,
    OfOriginalByOtherNames,
    OfOriginalByPosition,
    OfOriginalWithDefaults,
    OfOriginalInherited,
    WithAnything,
    WithTheFirst,
    WithMixin,
    PassesOnToOriginal,
    ByKeyword,
    PartlyByKeyword,
    MadeByNew,
]


def make(connection_class: type[SocketConnection]) -> SocketConnection:
    connection = factory_of(tornadio.get_router(connection_class, {"heartbeat_interval": 7}))()
    assert type(connection) is connection_class
    return connection


@pytest.mark.parametrize(
    ("connection_class", "got"),
    [
        (SocketConnection, []),
        (Untouched, []),
        (WithoutArguments, [()]),
        (WithDefaults, [(1, 2, 3)]),
        (WithKeywords, [{}]),
        (PassesOn, [()]),
        (PassesOnToDefaults, [(1, 2, 3)]),
        (CountsItsObjects, [()]),
        (Compiled, [()]),
        (AnnotatedForCheckers, [()]),
    ],
)
async def test_a_class_that_needs_no_arguments_gets_none(connection_class, got):
    make(connection_class)
    assert given == got


@pytest.mark.parametrize("connection_class", OF_ORIGINAL)
async def test_a_class_of_the_original_gets_its_arguments(connection_class):
    make(connection_class)
    assert given == [(proto, IOLoop.current(), 7.0)]


def test_a_class_without_a_constructor_is_called_itself():
    assert factory_of(tornadio.get_router(Untouched)) is Untouched
    assert factory_of(tornadio.get_router(WithoutArguments)) is WithoutArguments


class NeedsADatabase(SocketConnection):
    def __init__(self, db):
        raise AssertionError


class NeedsTwo(SocketConnection):
    def __init__(self, protocol, io_loop):
        raise AssertionError


class NeedsFour(SocketConnection):
    def __init__(self, protocol, io_loop, heartbeat_interval, db):
        raise AssertionError


class NeedsOneOfThree(SocketConnection):
    def __init__(self, db, cache=None, color=None):
        raise AssertionError


class NeedsOneThatGoesNowhere(WithoutArguments):
    def __init__(self, db, *args):
        raise AssertionError


class NeedsAKeyword(SocketConnection):
    def __init__(self, *, db):
        raise AssertionError


class NeedsAKeywordBesides(SocketConnection):
    def __init__(self, *args, db):
        raise AssertionError


@pytest.mark.parametrize(
    ("connection_class", "signature"),
    [
        (NeedsADatabase, "(db)"),
        (NeedsTwo, "(protocol, io_loop)"),
        (NeedsFour, "(protocol, io_loop, heartbeat_interval, db)"),
        (NeedsOneOfThree, "(db, cache=None, color=None)"),
        (NeedsOneThatGoesNowhere, "(db, *args)"),
        (NeedsAKeyword, "(*, db)"),
        (NeedsAKeywordBesides, "(*args, db)"),
    ],
)
def test_a_class_that_can_not_be_called_is_an_error_that_says_what_fits(connection_class, signature):
    with pytest.raises(SettingsError, match=re.escape(f"its __init__ takes {signature}. It must take no")) as caught:
        tornadio.get_router(connection_class)
    assert "those of TornadIO 0.0.5, protocol, io_loop, heartbeat_interval" in str(caught.value)
    assert str(caught.value).endswith(f"{connection_class.__name__}.db = db")


class OldEcho(Recorder):
    """A connection class as they were written for TornadIO 0.0.5."""

    def __init__(self, protocol, io_loop, heartbeat_interval):
        SocketConnection.__init__(self, protocol, io_loop, heartbeat_interval)
        super().__init__()
        given.append(heartbeat_interval)
        io_loop.add_callback(given.append, "called back")

    def on_message(self, message):
        self.send(message)


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_a_class_of_the_original_serves_clients(serve, each_http, transport):
    served = serve(OldEcho, {"heartbeat_interval": 9})
    client = await open_client(served, transport)
    assert await client.receive() == ["welcome"]
    await client.send("hello")
    assert await client.receive() == ["hello"]
    assert sorted(given, key=str) == [9.0, "called back"]


async def test_a_setting_of_the_application_reaches_the_constructor(serve):
    await serve(OldEcho, application={"heartbeat_interval": 5}).open()
    assert given[0] == 5.0
