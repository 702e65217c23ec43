"""When a client reconnects, and over which transport."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.appserver import AppServer
from tests.browser.client_pages import APP, Client, session
from tests.browser.intermediary import Intermediary
from tests.engines import Page
from tests.support import OF_BROWSERS


@pytest.mark.page_errors("^console: ")
@pytest.mark.parametrize("transport", OF_BROWSERS)
@pytest.mark.parametrize("when", ["as it is accepted", "at its first message"])
def test_the_delays_go_on_doubling_when_the_server_closes_each_connection_at_once(
    page: Page, app_server: Callable[..., AppServer], transport: str, when: str
) -> None:
    client = closed_at_once(page, app_server(APP), transport, when)
    client.connect().wait_for("reconnect_failed")
    assert_delays_double(client)
    assert [event[0] for event in client.log].count("connect") == 6


@pytest.mark.page_errors("^console: ")
@pytest.mark.parametrize("transport", OF_BROWSERS)
@pytest.mark.parametrize("when", ["as it is accepted", "at its first message"])
def test_they_do_so_for_a_page_that_connects_in_its_listener_for_disconnect(
    page: Page, app_server: Callable[..., AppServer], transport: str, when: str
) -> None:
    """It is there at once the first time, and once more after each delay."""
    client = closed_at_once(page, app_server(APP), transport, when)
    client.run("{ socket.on('disconnect', () => socket.connect()); }")
    client.connect().wait_for("reconnect_failed")
    assert_delays_double(client)
    assert [event[0] for event in client.log].count("connect") == 12


@pytest.mark.page_errors("^console: ")
@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_a_refusal_ends_them_over_each_transport(
    page: Page, app_server: Callable[..., AppServer], transport: str
) -> None:
    """Over websocket and jsonp-polling a page can't see it, and the other transports are tried at the third attempt."""
    server = app_server(APP)
    page.goto(server.url)
    client = Client(page, server.port, resource="refusing", reconnectionDelay=20, rememberTransport=False)
    client.run("{ socket.options.transports = [argument, ...socket.options.transports]; }", transport)
    client.connect().wait_for("connect")
    client.send("close")
    client.wait_for("reconnect_failed")
    attempts = 3 if transport in ("websocket", "jsonp-polling") else 1
    assert [event[0] for event in client.log].count("reconnecting") == attempts
    assert client.log[-1] == ["reconnect_failed", 403, "the application refused this connection"]


def closed_at_once(page: Page, server: AppServer, transport: str, when: str) -> Client:
    """A client that gives up at the fifth attempt, of a server that accepts each connection and closes it."""
    page.goto(server.url)
    resource = "closing" if when == "as it is accepted" else "socket.io"
    options = {"resource": resource, "reconnectionDelay": 20, "maxReconnectionAttempts": 5}
    client = Client(page, server.port, transport, **options)
    if when == "at its first message":
        client.run("{ socket.on('connect', () => socket.send('close')); }")
    return client


def assert_delays_double(client: Client) -> None:
    reconnecting = [event[1:] for event in client.log if event[0] == "reconnecting"]
    assert [attempt for _, attempt in reconnecting] == [1, 2, 3, 4, 5]
    assert all(10 * 2**attempt / 2 <= delay <= 10 * 2**attempt for delay, attempt in reconnecting)


@pytest.mark.engines
@pytest.mark.page_errors("^console: ")
def test_who_came_back_over_a_lesser_transport_changes_to_the_better_one_and_no_message_is_lost(
    page: Page, app_server: Callable[..., AppServer]
) -> None:
    server = app_server(APP)
    lesser = ("xhr-multipart", "xhr-polling", "jsonp-polling", "htmlfile")
    with Intermediary(server.port) as intermediary:
        page.goto(intermediary.url)
        options = {"resource": "ticking", "reconnectionDelay": 10}
        clients = [Client(page, intermediary.port, "websocket", each, **options).connect() for each in lesser]
        for client in clients:
            client.wait_for("connect")
            client.run("{ socket.options.connectTimeout = 2000; }")  # Firefox holds back those that are sure to fail
        intermediary.drop("/websocket")
        for client in clients:
            client.send("close")
        for client, transport in zip(clients, lesser, strict=True):
            client.wait_for("reconnect")
            assert ["reconnect", transport] in [event[:2] for event in client.log]
        assert page.evaluate("document.cookie") == "socketio=websocket"
        ids = [client.session_id for client in clients]
        intermediary.delay_seconds = 0.03
        intermediary.pass_on()
        for client in clients:
            client.run("{ let number = 0; socket.sending = setInterval(() => socket.send(++number), 20); }")
        for client, session_id in zip(clients, ids, strict=True):
            client.wait_for("reconnect", 2)
            client.run("{ clearInterval(socket.sending); socket.send('end'); }")
            page.wait_for_function("(socket) => socket.log.some(([, message]) => message === 'end')", arg=client.socket)
            client.disconnect()
            *_, before, after = sessions_in(client.log)
            assert after[:2] == [["connect"], ["reconnect", "websocket", 0]]
            echoes = [event[1] for event in before + after if event[0] == "message" and not isinstance(event[1], dict)]
            assert echoes == [*range(1, len(echoes)), "end"]
            assert ticks_in(before) == [*range(1, session(server, session_id)["ticks"] + 1)]
            assert ticks_in(after) == [*range(1, len(ticks_in(after)) + 1)]


@pytest.mark.page_errors("^console: ")
def test_disconnect_in_the_middle_of_a_change_loses_nothing(page: Page, app_server: Callable[..., AppServer]) -> None:
    server = app_server(APP)
    with Intermediary(server.port) as intermediary:
        page.goto(intermediary.url)
        client = Client(page, intermediary.port, "websocket", "xhr-polling", reconnectionDelay=10).connect()
        client.wait_for("connect")
        intermediary.drop("/websocket")
        client.send("close")
        client.wait_for("reconnect")
        lesser = client.session_id
        intermediary.pass_on()
        intermediary.hold("POST")
        intermediary.wait_for(f"POST .*{lesser}/send")  # the better one has its session, and the lesser one is left
        client.send("late")
        client.disconnect()
        assert client.log[-2:] == [["reconnect", "xhr-polling", 3], ["disconnect"]]
        assert client.state == [False, False, False]
        assert (client.type, client.session_id != lesser) == ("websocket", True)
        deadline = time.monotonic() + 30
        while (known := session(server, client.session_id))["received"] != ["late"] or not known["ended"]:
            assert time.monotonic() < deadline, known
            time.sleep(0.05)
        client.connect().send("hello")
        assert client.wait_for_messages(1) == ["hello"]


def sessions_in(log: list[list[Any]]) -> list[list[list[Any]]]:
    """A log's events from each `connect` on."""
    starts = [index for index, event in enumerate(log) if event == ["connect"]]
    return [log[start:end] for start, end in zip(starts, [*starts[1:], len(log)], strict=True)]


def ticks_in(log: list[list[Any]]) -> list[int]:
    return [event[1]["tick"] for event in log if event[0] == "message" and isinstance(event[1], dict)]
