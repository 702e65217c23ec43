"""The option `firstMessage`: what goes over each connection before all else, and over no other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from tests.appserver import AppServer
from tests.browser.client_pages import APP, Client, session
from tests.browser.intermediary import Intermediary
from tests.browser.scenes import eventually
from tests.browser_fixtures import NETWORK_ERRORS
from tests.engines import Page
from tests.support import OF_BROWSERS

pytestmark = [
    pytest.mark.engines("chromium", because="the client's script decides it by itself"),
    pytest.mark.page_errors(*NETWORK_ERRORS),
]
over_each_transport = pytest.mark.parametrize("transport", OF_BROWSERS)

# Token 1 for the first connection, token 2 for the second ...
TOKENS = "(() => { let number = 0; return () => `token ${++number}`; })()"


def with_first(client: Client, function: str = TOKENS) -> Client:
    """The client, not connected yet, with a function of JavaScript as its option."""
    client.run(f"{{ socket.options.firstMessage = {function}; }}")
    return client


def received(server: AppServer, client: Client) -> Any:
    return session(server, client.session_id)["received"]


@over_each_transport
def test_it_goes_before_what_was_sent_before_the_connection(page: Page, server: AppServer, transport: str) -> None:
    page.goto(server.url)
    client = with_first(Client(page, server.port, transport, resource="silent"))
    client.send("hello", {"a": 1})
    client.run("{ socket.on('connect', () => socket.send('connected')); }")
    client.connect().wait_for("connect")
    client.send("later")
    eventually(lambda: received(server, client), ["token 1", "hello", {"a": 1}, "connected", "later"])
    client.disconnect()
    client.send("offline")
    client.connect().wait_for("connect", 2)
    eventually(lambda: received(server, client), ["token 2", "offline", "connected"])


@pytest.mark.parametrize("transport", [each for each in OF_BROWSERS if each != "websocket"])
def test_none_is_left_of_a_connection_that_broke_before_it_arrived(
    page: Page, server: AppServer, transport: str
) -> None:
    with Intermediary(server.port) as intermediary:
        page.goto(intermediary.url)
        client = with_first(Client(page, intermediary.port, transport, resource="silent", reconnectionDelay=10))
        intermediary.drop("^POST ")
        client.send("lost")
        client.connect().wait_for("disconnect", 2)
        intermediary.pass_on()
        client.send("offline")
        eventually(lambda: received(server, client)[1:], ["offline"])
        connections = [event[0] for event in client.log].count("connect")
        assert connections > 2
        assert received(server, client) == [f"token {connections}", "offline"]


def test_none_is_used_up_by_an_attempt_that_fails(page: Page, server: AppServer) -> None:
    with Intermediary(server.port) as intermediary:
        page.goto(intermediary.url)
        intermediary.drop("/websocket|/xhr-multipart")
        client = with_first(Client(page, intermediary.port, resource="silent"))
        client.send("hello")
        client.connect().wait_for("connect")
        eventually(lambda: received(server, client), ["token 1", "hello"])
        assert client.type == "xhr-polling"


def test_it_may_be_several_messages_or_none(page: Page, server: AppServer) -> None:
    page.goto(server.url)
    cases: dict[str, list[Any]] = {
        "() => ['a', {token: 1}]": ["a", {"token": 1}],
        "() => []": [],
        "() => null": [],
        "() => undefined": [],
        "() => ''": [""],
        "() => false": [False],
        "null": [],
        "false": [],
    }
    for function, messages in cases.items():
        client = with_first(Client(page, server.port, "websocket", resource="silent"), function)
        client.send("hello")
        client.connect().wait_for("connect")
        eventually(functools.partial(received, server, client), [*messages, "hello"])
        client.disconnect()


@over_each_transport
def test_all_waits_for_one_that_takes_its_time(page: Page, server: AppServer, transport: str) -> None:
    """But for heartbeats, so that the server keeps the connection."""
    with Intermediary(server.port) as intermediary:
        page.goto(intermediary.url)
        client = Client(page, intermediary.port, transport, resource="impatient")
        with_first(client, "() => new Promise((resolve) => { socket.resolve = resolve; })")
        client.send("hello")
        client.connect().wait_for("connect")
        client.send("too")
        if "polling" in transport:
            intermediary.wait_for(f"^GET .*{client.session_id}", 3)
        else:
            eventually(lambda: "~h~2" in "".join(intermediary.payloads), True)
        assert received(server, client) == []
        client.run("{ socket.resolve(['token']); }")
        assert client.wait_for_messages(3) == ["token", "hello", "too"]
        assert received(server, client) == ["token", "hello", "too"]


@over_each_transport
def test_what_was_sent_before_a_disconnect_waits_for_it_too(page: Page, server: AppServer, transport: str) -> None:
    page.goto(server.url)
    client = with_first(
        Client(page, server.port, transport, resource="silent"),
        "() => new Promise((resolve) => { socket.resolve = resolve; })",
    )
    client.connect().wait_for("connect")
    client.send("hello")
    client.disconnect()
    client.run("{ socket.resolve('token'); }")
    eventually(lambda: received(server, client), ["token", "hello"])
    eventually(lambda: session(server, client.session_id)["ended"], True)


@over_each_transport
def test_a_disconnect_does_not_wait_for_it_where_nothing_was_sent(
    page: Page, server: AppServer, transport: str
) -> None:
    page.goto(server.url)
    client = with_first(Client(page, server.port, transport, resource="silent"), "() => new Promise(() => {})")
    client.connect().wait_for("connect")
    client.disconnect()
    assert client.run("socket.transport.closed")
    eventually(lambda: session(server, client.session_id)["ended"], True)


@pytest.mark.page_errors("^exception: no token")
@over_each_transport
def test_without_it_the_connection_ends_and_sends_nothing(page: Page, server: AppServer, transport: str) -> None:
    page.goto(server.url)
    for function in ("() => { throw new Error('no token'); }", "async () => { throw new Error('no token'); }"):
        client = Client(
            page, server.port, transport, resource="silent", reconnectionDelay=10, maxReconnectionAttempts=2
        )
        with_first(client, function).send("hello")
        client.connect().wait_for("reconnect_failed")
        assert [event[0] for event in client.log].count("connect") == 3
        assert received(server, client) == []
        with_first(client, "() => 'token'").connect().wait_for("connect", 4)
        eventually(functools.partial(received, server, client), ["token", "hello"])


def test_it_goes_first_over_the_better_transport_of_a_change(page: Page, app_server: Callable[..., AppServer]) -> None:
    """The change waits with what it has, until the lesser transport has ended."""
    server = app_server(APP)
    with Intermediary(server.port) as intermediary:
        page.goto(intermediary.url)
        client = Client(page, intermediary.port, "websocket", "xhr-polling", reconnectionDelay=10)
        with_first(client).connect().wait_for("connect")
        intermediary.drop("/websocket")
        client.send("close")
        client.wait_for("reconnect")
        intermediary.pass_on()
        intermediary.delay_seconds = 0.03
        client.run("{ let number = 0; socket.sending = setInterval(() => socket.send(++number), 20); }")
        client.wait_for("reconnect", 2)
        client.run("{ clearInterval(socket.sending); socket.send('end'); }")
        eventually(lambda: received(server, client)[-1:], ["end"])
        first, *numbers, _ = received(server, client)
        assert first == "token 3"
        assert numbers == [*range(numbers[0], numbers[0] + len(numbers))]
        assert client.type == "websocket"


@pytest.mark.page_errors("^exception: no token", *NETWORK_ERRORS)
def test_a_lesser_transport_goes_on_until_the_better_one_has_it(
    page: Page, app_server: Callable[..., AppServer]
) -> None:
    server = app_server(APP)
    with Intermediary(server.port) as intermediary:
        page.goto(intermediary.url)
        client = Client(page, intermediary.port, "websocket", "xhr-polling", reconnectionDelay=10)
        client.connect().wait_for("connect")
        intermediary.drop("/websocket")
        client.send("close")
        client.wait_for("reconnect")
        session_id = client.session_id
        intermediary.pass_on()
        with_first(client, "() => new Promise((resolve, reject) => { socket.reject = reject; })")
        page.wait_for_function("(socket) => socket.reject", arg=client.socket)
        client.send("one")
        eventually(lambda: client.messages[-1:], ["one"])
        client.run("{ socket.reject(new Error('no token')); }")
        client.send("two")
        eventually(lambda: client.messages[-1:], ["two"])
        assert (client.type, client.session_id) == ("xhr-polling", session_id)
