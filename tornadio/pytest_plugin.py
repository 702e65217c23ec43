"""pytest plugin: what :mod:`tornadio.testing` has, as fixtures.

pytest loads it by its entry point wherever TornadIO is installed: it imports nothing of TornadIO, nor Tornado, before
a test asks for a fixture. What runs an ``async def`` test, runs the servers, in the test's own task: pytest-asyncio in
both of its modes, or AnyIO on asyncio. For another test they run in a thread.
"""

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from tornadio.testing import Clock, ManualServer, Server

T = TypeVar("T")


class _Running:
    """What runs during one test, and ends with it.

    :param fixture: the name of the one that the test has asked for first.
    :ivar is_async: whether the test is a coroutine.
    :ivar contexts: those that a test was given that is none.
    """

    def __init__(self, fixture: str, is_async: bool) -> None:
        self._fixture = fixture
        self._stack = contextlib.AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_started = False
        self.is_async = is_async
        self.contexts = contextlib.ExitStack()
        self.clock: Clock | None = None

    def start(self, server: "Server | ManualServer") -> Any:
        """Start a server, which ends with the test.

        :returns: an awaitable of the server, or, for a test that is no coroutine, one that is used without ``await``.
        """
        return self.enter(server) if self.is_async else self.contexts.enter_context(server)

    async def enter(self, context: contextlib.AbstractAsyncContextManager[T]) -> T:
        """Enter a context manager, which is left at the end of the test."""
        self._loop = asyncio.get_running_loop()
        return await self._stack.enter_async_context(context)

    def around(self, test: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return a test function at whose end everything ends that was entered."""

        @functools.wraps(test)
        async def run(*args: Any, **kwargs: Any) -> Any:
            self._has_started = True
            async with self._stack:
                if self.clock is not None:
                    await self.enter(self.clock)
                return await test(*args, **kwargs)

        return run

    def explained(self, failure: str) -> str:
        """Return the text of a failure, with what to do where nothing has run the test."""
        if self._has_started:
            return failure
        return (
            f"{self._fixture} is for tests that something runs: for 'async def' tests 'pip install pytest-asyncio', "
            'and mark them with @pytest.mark.asyncio, or set asyncio_mode = "auto" in pytest\'s configuration\n'
            f"{failure}"
        )

    def end(self) -> None:
        """End what was entered by fixtures of a test that was not run after that."""
        loop, self._loop = self._loop, None
        if not self._has_started and loop is not None and not loop.is_closed() and not loop.is_running():
            loop.run_until_complete(self._stack.aclose())
        self.contexts.close()


_RUNNING = pytest.StashKey[_Running]()


def _running(request: pytest.FixtureRequest) -> _Running:
    test = request.node
    running: _Running | None = test.stash.get(_RUNNING, None)
    if running is None:
        is_async = inspect.iscoroutinefunction(getattr(test, "obj", None))
        running = test.stash[_RUNNING] = _Running(str(request.fixturename), is_async)
    return running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    running = item.stash.get(_RUNNING, None)
    if running is None or not isinstance(item, pytest.Function):
        return (yield)
    if not running.is_async:
        with running.contexts:
            return (yield)
    test = item.obj
    item.obj = running.around(test)
    try:
        return (yield)
    except pytest.fail.Exception as failure:
        failure.msg = running.explained(str(failure.msg))
        raise
    finally:
        item.obj = test


@pytest.hookimpl(tryfirst=True)  # before other plugins close the event loop
def pytest_runtest_teardown(item: pytest.Item) -> None:
    running = item.stash.get(_RUNNING, None)
    if running is not None:
        running.end()


@pytest.fixture
def tornadio_serve(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Serve applications, routers or connection classes: ``server = await tornadio_serve(Chat)``, with the arguments of
    ``tornadio.testing.serve``. They are shut down at the end of the test, which fails if their handlers have. In a test
    that is not ``async def``: without ``await``.
    """
    from tornadio import testing

    running = _running(request)

    def serve(*args: Any, **options: Any) -> Any:
        return running.start(testing.serve(*args, **options))

    return serve


@pytest.fixture
def tornadio_manual_server(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Start servers that the test runs by hand: ``server = await tornadio_manual_server()``, with the arguments of
    ``tornadio.testing.manual_server``. They end with the test. In a test that is not ``async def``: without ``await``.
    """
    from tornadio import testing

    running = _running(request)

    def manual_server(**options: Any) -> Any:
        return running.start(testing.manual_server(**options))

    return manual_server


@pytest.fixture
def tornadio_clock(request: pytest.FixtureRequest) -> "Clock":
    """The time of the test's event loop, which stands still until the test says ``await tornadio_clock.advance(12)``: a
    ``tornadio.testing.Clock``.
    """
    from tornadio import testing

    running = _running(request)
    if not running.is_async:
        pytest.fail("tornadio_clock is for tests that are 'async def': the others have no event loop", pytrace=False)
    if running.clock is None:
        running.clock = testing.clock()
    return running.clock
