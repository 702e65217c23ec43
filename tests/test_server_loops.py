"""SocketServer: the event loops that it runs on, other threads' too, and what is left where it fails to start: nothing
that listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tornado.web
from tornado.ioloop import IOLoop
from tornado.netutil import bind_unix_socket

import tornadio
from tests.appserver import free_port
from tests.clients import exchange, greeted
from tests.internals import servers_of, started
from tests.support import SECONDS, Recorder, Served, limit, shut_down, until
from tornadio.errors import CallerError


class OnLoop(Recorder):
    """Knows the event loop that it is on."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        self.loop = asyncio.get_running_loop()


def make_application(port: int = 0, **settings: Any) -> tornado.web.Application:
    routes: list[Any] = [
        tornadio.get_router(OnLoop).route(),
        (r"/monitor/(.*)", tornadio.MonitorHandler, {"authorize": lambda request: True}),
    ]
    return tornado.web.Application(routes, socket_io_port=port, socket_io_address="127.0.0.1", **settings)


def assert_nothing_listens(*ports: int) -> None:
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass


@contextlib.contextmanager
def loop_of_this_thread() -> Iterator[IOLoop]:
    """A loop of Tornado's, which is closed at the end."""
    loop = IOLoop()
    try:
        yield loop
    finally:
        loop.close()
        asyncio.set_event_loop(None)


# -- In a thread -------------------------------------------------------------------------------------------------------


def start_plainly(application: tornado.web.Application) -> None:
    tornadio.SocketServer(application)


def start_on_its_own_loop(application: tornado.web.Application) -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())
    tornadio.SocketServer(application)


def start_on_a_given_loop(application: tornado.web.Application) -> None:
    tornadio.SocketServer(application, io_loop=IOLoop(make_current=False))


def start_without_auto_start(application: tornado.web.Application) -> None:
    tornadio.SocketServer(application, auto_start=False)
    IOLoop.current().start()


def start_without_auto_start_on_a_given_loop(application: tornado.web.Application) -> None:
    loop = IOLoop(make_current=False)
    tornadio.SocketServer(application, auto_start=False, io_loop=loop)
    loop.start()


@pytest.mark.parametrize(
    "start",
    [
        start_plainly,
        start_on_its_own_loop,
        start_on_a_given_loop,
        start_without_auto_start,
        start_without_auto_start_on_a_given_loop,
    ],
)
async def test_it_serves_in_a_thread(start, caplog):
    caplog.set_level(logging.INFO)
    Recorder.opened.clear()
    application = make_application()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            start(application)
        except BaseException as error:
            errors.append(error)
        finally:
            IOLoop.current().close()

    thread = threading.Thread(target=run, name="of the server")
    thread.start()
    await until(lambda: errors or started(application))
    assert errors == []
    [server] = servers_of(application)
    served = Served(server, server.routers[0])
    for transport in ("websocket", "xhr-polling"):
        await exchange(await greeted(served, transport), "hello")
    loop = Recorder.opened[0].loop
    async with limit():
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(server.shutdown(), loop))
    for wire in served.wires:
        await wire.aclose()
    loop.call_soon_threadsafe(loop.stop)
    await asyncio.to_thread(thread.join, SECONDS)
    assert not thread.is_alive()
    assert errors == []
    assert [recorder.is_closed for recorder in Recorder.opened] == [True, True]
    assert_nothing_listens(server.port)
    lines = [record.getMessage() for record in caplog.records if "SIGTERM" in record.getMessage()]
    if "without_auto_start" in start.__name__:
        assert lines == []
    else:
        [line] = lines
        assert line.startswith("SIGTERM and SIGINT do not stop the server in thread of the server: ")


# -- Which loop --------------------------------------------------------------------------------------------------------


def test_a_loop_that_is_given_is_the_one_that_serves(caplog):
    port = free_port()
    with loop_of_this_thread() as loop:
        other = IOLoop()  # which becomes the current one
        assert IOLoop.current() is other
        server = tornadio.SocketServer(make_application(port), io_loop=loop, auto_start=False)
        served = Served(server, server.routers[0])

        async def talk() -> None:
            await exchange(await greeted(served), "hello")
            await shut_down(server)
            for wire in served.wires:
                await wire.aclose()

        loop.run_sync(talk)
        other.close()


def test_a_loop_that_is_closed_is_an_error_before_anything_listens():
    port = free_port()
    loop = IOLoop(make_current=False)
    loop.close()
    for auto_start in (False, True):
        with pytest.raises(CallerError, match="the event loop is closed: give SocketServer another one as io_loop"):
            tornadio.SocketServer(make_application(port), io_loop=loop, auto_start=auto_start)
    asyncio.set_event_loop(asyncio.new_event_loop())
    asyncio.get_event_loop().close()
    with pytest.raises(CallerError, match="the event loop is closed"):
        tornadio.SocketServer(make_application(port))
    asyncio.set_event_loop(None)
    assert_nothing_listens(port)


def test_a_loop_of_another_thread_is_an_error_before_anything_listens():
    port = free_port()
    loop = IOLoop(make_current=False)
    thread = threading.Thread(target=loop.start)
    running = threading.Event()
    loop.add_callback(running.set)
    thread.start()
    assert running.wait(SECONDS)
    for auto_start in (False, True):
        with pytest.raises(CallerError, match="io_loop runs in another thread: make the server there"):
            tornadio.SocketServer(make_application(port), io_loop=loop, auto_start=auto_start)
    loop.add_callback(loop.stop)
    thread.join()
    loop.close()
    assert_nothing_listens(port)


async def test_another_loop_than_the_one_that_runs_is_an_error_before_anything_listens():
    port = free_port()
    loop = IOLoop(make_current=False)
    with pytest.raises(CallerError, match="io_loop is not the event loop that runs here: leave it out"):
        tornadio.SocketServer(make_application(port), io_loop=loop, auto_start=False)
    loop.close()
    assert_nothing_listens(port)


# -- Failing -----------------------------------------------------------------------------------------------------------


def fail(error: BaseException) -> Callable[..., Any]:
    def failing(*args: Any, **kwargs: Any) -> Any:
        raise error

    return failing


FAULTS = [
    "tornadio.router.Router._start",
    "tornadio.monitor.monitor.Monitor.start",
    "tornadio.server.flash_policy",
    "tornadio.server.FlashPolicyServer",
    "tornadio.server.port_of",
    "tornado.platform.asyncio.BaseAsyncIOLoop.add_callback",
]
RUNNING_FAULTS = ["asyncio.SelectorEventLoop.add_signal_handler", "tornado.platform.asyncio.BaseAsyncIOLoop.start"]


@pytest.mark.parametrize("fault", [*FAULTS, "tornado.platform.asyncio.BaseAsyncIOLoop.add_handler", *RUNNING_FAULTS])
@pytest.mark.parametrize("error", [OSError(98, "in use"), RuntimeError("broken"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("auto_start", [False, True])
def test_a_server_that_fails_to_start_leaves_nothing_that_listens(monkeypatch, fault, error, auto_start):
    if fault in RUNNING_FAULTS and not auto_start:
        return
    port, policy_port = free_port(), free_port()
    application = make_application(port, flash_policy_port=policy_port)
    with loop_of_this_thread():
        with monkeypatch.context() as patch:
            patch.setattr(fault, fail(error))
            with pytest.raises(type(error)) as raised:
                tornadio.SocketServer(application, auto_start=auto_start)
        assert raised.value is error
        assert_nothing_listens(port, policy_port)
        assert servers_of(application) == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_sockets_that_were_given_are_closed_by_a_server_that_fails_to_start(monkeypatch, tmp_path, fault):
    given = bind_unix_socket(str(tmp_path / "a.sock"))
    with loop_of_this_thread(), monkeypatch.context() as patch:
        patch.setattr(fault, fail(RuntimeError("broken")))
        application = make_application(flash_policy_port=free_port())
        with pytest.raises(RuntimeError, match="broken"):
            tornadio.SocketServer(application, auto_start=False, sockets=[given])
    assert given.fileno() == -1


async def test_a_server_that_has_failed_to_start_starts_again(monkeypatch):
    port = free_port()
    application = make_application(port)
    with monkeypatch.context() as patch:
        patch.setattr("tornadio.monitor.monitor.Monitor.start", fail(RuntimeError("broken")))
        with pytest.raises(RuntimeError, match="broken"):
            tornadio.SocketServer(application, auto_start=False)
    server = tornadio.SocketServer(application, auto_start=False)
    served = Served(server, server.routers[0])
    await exchange(await greeted(served), "hello")
    await shut_down(server)
    for wire in served.wires:
        await wire.aclose()


# Tornado leaves the sockets to the garbage collector: the first one, of IPv4, listened already.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="without IPv6 there is but one socket")
async def test_a_port_that_is_taken_for_ipv6_alone_is_left_for_ipv4_while_the_error_is_held():
    with socket.create_server(("::", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        application = tornado.web.Application([], socket_io_port=port)
        with pytest.raises(OSError, match="in use") as held:
            tornadio.SocketServer(application, auto_start=False)
        assert_nothing_listens(port)
        assert held.value.errno


def test_a_loop_that_is_stopped_without_a_shutdown_leaves_nothing_that_listens():
    port, policy_port = free_port(), free_port()
    with loop_of_this_thread() as loop:
        loop.add_callback(loop.stop)
        tornadio.SocketServer(make_application(port, flash_policy_port=policy_port))
    assert_nothing_listens(port, policy_port)


async def test_a_policy_file_that_is_not_there_is_an_error_before_anything_listens(tmp_path: Path):
    port = free_port()
    with pytest.raises(FileNotFoundError):
        tornadio.SocketServer(make_application(port, flash_policy_file=str(tmp_path / "none")), auto_start=False)
    assert_nothing_listens(port)
