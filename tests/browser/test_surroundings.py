"""What a page has done to its surroundings before it connects: libraries that change the language's own objects,
replacements of what browsers have, frames and workers, policies. Each was a report about a client of this family."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.appserver import AppServer
from tests.browser.client_pages import Client, session
from tests.browser.scenes import eventually
from tests.browser_fixtures import NETWORK_ERRORS
from tests.engines import Page
from tests.support import OF_BROWSERS

in_each_engine = pytest.mark.engines
decided_by_the_script = pytest.mark.engines("chromium", because="the client's script decides it by itself")
provokes_network_errors = pytest.mark.page_errors(*NETWORK_ERRORS)
# Libraries that change the language's own objects


# What Prototype.js had until 1.6: texts that are JSON already.
PROTOTYPE_JS = """() => {
  Array.prototype.toJSON = function () { return `[${this.map((each) => JSON.stringify(each)).join(', ')}]`; };
  String.prototype.toJSON = function () { return `"${this}"`; };
  Number.prototype.toJSON = function () { return isFinite(this) ? this.toString() : 'null'; };
}"""


@decided_by_the_script
def test_json_is_none_of_a_librarys(page: Page, server: AppServer) -> None:
    page.goto(server.url)
    page.evaluate(PROTOTYPE_JS)
    client = Client(page, server.port, "websocket").connect()
    sent = [{"list": [1, "x", [2.5]], "text": 'a "b"', "none": None}, "~h~1", 5]
    client.send(*sent)
    # Compared in the page: the driver makes JSON of what it gives back, too.
    client.wait_for("message", 3)
    assert client.run("socket.log.filter(([name]) => name === 'message')[0][1].list[2][0]") == 2.5
    assert client.run("socket.log.filter(([name]) => name === 'message').map(([, { list, text }]) => typeof list)") == [
        "object",
        "undefined",
        "undefined",
    ]
    assert client.run("socket.log.filter(([name]) => name === 'message')[1][1] === '~h~1'") is True
    assert client.run("socket.log.filter(([name]) => name === 'message')[2][1] === 5") is True


@decided_by_the_script
def test_what_a_page_makes_of_its_own_values_counts(page: Page, server: AppServer) -> None:
    """As for BigInts, which JSON has not."""
    page.goto(server.url)
    page.evaluate("() => { BigInt.prototype.toJSON = function () { return this.toString(); }; }")
    page.evaluate(PROTOTYPE_JS)
    client = Client(page, server.port, "websocket").connect()
    client.run(
        "{ socket.send({ big: 5n, own: { toJSON: () => 'mine' }, list: Object.assign([1], { toJSON: () => 2 }) }); }"
    )
    client.wait_for("message")
    read = "Object.values(socket.log.find(([name]) => name === 'message')[1]).join()"
    assert client.run(read) == "5,mine,2"


DIRTY = """() => {
  for (const type of [Object, Array, Function, String]) {
    type.prototype.added = function () { throw new Error('a property of all objects was used'); };
  }
  const own = Array.prototype.indexOf;
  Array.prototype.indexOf = function (item, from) { return own.call(this, item, from ?? 0); };
  window.define = Object.assign(() => { throw new Error('mismatched anonymous define()'); }, { amd: {} });
  window.module = { exports: {} };
  Object.defineProperty(Navigator.prototype, 'onLine', { get: () => false });
}"""


@decided_by_the_script
@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_added_properties_and_loaders_of_modules_disturb_nothing(page: Page, server: AppServer, transport: str) -> None:
    page.goto(server.url)
    page.evaluate(DIRTY)
    page.evaluate("() => { delete window.io; }")
    page.evaluate(
        """() => new Promise((resolve) => {
          const script = Object.assign(document.createElement('script'), { src: '/socket.io/socket.io.js' });
          script.onload = () => resolve();
          document.head.append(script);
        })"""
    )
    client = Client(page, server.port, transport).connect()
    client.send("one", {"two": [2]})
    assert client.wait_for_messages(2) == ["one", {"two": [2]}]


# Replacements of what browsers have


@decided_by_the_script
def test_a_websocket_without_constants_carries_messages(page: Page, server: AppServer) -> None:
    page.goto(server.url)
    page.evaluate(
        """() => {
          const Native = WebSocket;
          window.WebSocket = function (url) { return new Native(url); };
        }"""
    )
    client = Client(page, server.port, "websocket").connect()
    client.send("hello")
    assert client.wait_for_messages(1) == ["hello"]


@decided_by_the_script
def test_the_next_transport_is_tried_where_websockets_are_forbidden(page: Page, server: AppServer) -> None:
    """As in a page over TLS that names a server without."""
    page.goto(server.url)
    page.evaluate("() => { window.WebSocket = function () { throw new DOMException('insecure', 'SecurityError'); }; }")
    client = Client(page, server.port, "websocket", "xhr-polling").connect()
    client.send("hello")
    assert client.wait_for_messages(1) == ["hello"]
    assert [event for event in client.log if event[0] == "connecting"] == [
        ["connecting", "websocket"],
        ["connecting", "xhr-polling"],
    ]


WITHOUT_BODIES = """() => {
  const native = fetch;
  window.fetch = async (...args) => {
    const response = await native(...args);
    const text = await response.text();
    const { status, type, headers } = response;
    return { status, type, headers, text: async () => text };
  };
}"""


@decided_by_the_script
@provokes_network_errors
def test_a_fetch_whose_responses_have_no_body_polls_and_tells_of_refusals(page: Page, server: AppServer) -> None:
    page.goto(server.url)
    page.evaluate(WITHOUT_BODIES)
    client = Client(page, server.port, "xhr-polling").connect()
    client.send("hello")
    assert client.wait_for_messages(1) == ["hello"]
    refused = Client(page, server.port, "xhr-polling", resource="failing/plain").connect()
    refused.wait_for("connect_failed")
    assert refused.log[-1] == ["connect_failed", 503, "é" * 500]


@in_each_engine
@provokes_network_errors
@pytest.mark.parametrize("transport", ["xhr-multipart", "xhr-polling"])
def test_headers_that_another_script_adds_to_each_request_are_allowed(
    page: Page, server: AppServer, other_server: AppServer, transport: str
) -> None:
    """As tracing does. A page of another origin asks first whether it may."""
    page.goto(other_server.url)
    page.evaluate(
        """() => {
          const native = fetch;
          const headers = { traceparent: '00-1-1-01', 'x-app-version': '7' };
          window.fetch = (url, options) => native(url, { ...options, headers: { ...options.headers, ...headers } });
        }"""
    )
    client = Client(page, server.port, transport).connect()
    client.send("hello")
    assert client.wait_for_messages(1) == ["hello"]


@decided_by_the_script
@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_timeouts_may_be_infinite_or_texts(page: Page, server: AppServer, transport: str) -> None:
    """For timers of browsers Infinity is no delay at all."""
    page.goto(server.url)
    options = "{ port, transports: [transport], timeout, connectTimeout: timeout }"
    for timeout in ("Infinity", "3e9", "'30000'"):
        page.evaluate(
            f"([port, transport, timeout = {timeout}]) => {{ window.socket = createSocket('localhost', {options}); }}",
            [server.port, transport],
        )
        page.evaluate("() => { socket.connect().send('hello'); }")
        page.wait_for_function("socket.log.some(([name]) => name === 'message')")
        assert page.evaluate("socket.log") == [["connecting", transport], ["connect"], ["message", "hello"]]
        page.evaluate("() => { socket.disconnect(); }")


# The page's document


@in_each_engine
@pytest.mark.parametrize("transport", ["jsonp-polling", "htmlfile"])
def test_a_connection_outlives_the_body_of_its_page(page: Page, server: AppServer, transport: str) -> None:
    """Turbo, and others that load pages by script, put a new body in the old one's place."""
    page.goto(server.url)
    client = Client(page, server.port, transport).connect()
    client.send("before")
    assert client.wait_for_messages(1) == ["before"]
    page.evaluate("() => { document.body = document.createElement('body'); }")
    client.send("after")
    assert client.wait_for_messages(2) == ["before", "after"]
    assert client.log == [["connecting", transport], ["connect"], ["message", "before"], ["message", "after"]]


@pytest.mark.engines("chromium", "firefox", because="WebKit's driver gives no page this header")
@pytest.mark.parametrize("transport", ["jsonp-polling", "htmlfile"])
def test_a_page_that_changes_its_domain_stays_or_comes_back(page: Page, server: AppServer, transport: str) -> None:
    """`document.domain` puts the hidden frames that are there out of reach."""
    page.goto(f"{server.url}/?header={quote('Origin-Agent-Cluster: ?0')}")
    client = Client(page, server.port, transport, reconnectionDelay=50).connect()
    client.send("before")
    assert client.wait_for_messages(1) == ["before"]
    page.evaluate("() => { document.domain = document.domain; }")
    client.send("after")
    client.wait_for("message", 2)


# What a page sends, and its listeners


@decided_by_the_script
def test_what_no_json_can_hold_is_the_senders_error_and_stops_nothing(page: Page, server: AppServer) -> None:
    page.goto(server.url)
    client = Client(page, server.port, "websocket", resource="silent").connect()
    client.wait_for("connect")
    errors = client.run(
        """[() => 1n, () => [[1n]], () => { const a = {}; a.a = a; return a; }, () => ['lost', 1n]].map((make) => {
          try {
            socket.send(make());
          } catch (error) {
            return error.name;
          }
        })"""
    )
    assert errors == ["TypeError"] * 4
    client.run("{ socket.send(undefined).send(() => {}).send(Symbol('a')).send(NaN).send(new Date(0)).send('last'); }")
    sent = [None, None, None, None, "1970-01-01T00:00:00.000Z", "last"]
    eventually(lambda: session(server, client.session_id)["received"], sent)


@decided_by_the_script
def test_listeners_that_go_while_an_event_is_told_let_no_other_miss_it(page: Page, server: AppServer) -> None:
    page.goto(server.url)
    client = Client(page, server.port, "websocket")
    client.run(
        """{
          const note = (text) => (message) => socket.log.push([text, message]);
          const first = (message) => {
            socket.log.push(['first', message]);
            socket.removeEvent('message', first);
            socket.on('message', note('added'));
          };
          socket.once('message', note('once')).on('message', first).on('message', note('last'));
        }"""
    )
    client.connect().send("a", "b")
    client.wait_for("added")
    assert client.log[2:] == [
        ["message", "a"],
        ["once", "a"],
        ["first", "a"],
        ["last", "a"],
        ["message", "b"],
        ["last", "b"],
        ["added", "b"],
    ]


# What zone.js does: what an event calls runs in the zone where it was asked for.
ZONES = """() => {
  window.zone = 'root';
  const native = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (name, listener, ...rest) {
    const own = zone;
    const wrapped = function (event) {
      const outer = zone;
      window.zone = own;
      listener.call(this, event);
      window.zone = outer;
    };
    return native.call(this, name, wrapped, ...rest);
  };
}"""


@decided_by_the_script
@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_listeners_run_in_the_zone_that_has_added_them(page: Page, server: AppServer, transport: str) -> None:
    """Angular updates its views then, and else does not."""
    page.goto(server.url)
    page.evaluate(ZONES)
    client = Client(page, server.port, transport)
    client.run(
        """{
          window.zone = 'app';
          socket.on('connect', () => socket.log.push([zone])).on('message', () => socket.log.push([zone]));
          window.zone = 'root';
        }"""
    )
    client.connect().send("hello")
    client.wait_for("app", 2)
    assert ["root"] not in client.log


# What people do with the page


@decided_by_the_script
@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_a_page_that_is_blocked_while_it_connects_has_one_connection(
    page: Page, server: AppServer, transport: str
) -> None:
    """As by `alert()`, for longer than an attempt may take."""
    page.goto(server.url)
    client = Client(page, server.port, transport, "xhr-polling", connectTimeout=1000)
    client.run(
        """{
          socket.connect();
          const end = performance.now() + 4000;
          while (performance.now() < end);
          socket.send('hello');
        }"""
    )
    assert client.wait_for_messages(1) == ["hello"]
    assert client.log == [["connecting", transport], ["connect"], ["message", "hello"]]


@in_each_engine
@provokes_network_errors
@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_who_stops_the_page_stays_or_comes_back(page: Page, server: AppServer, transport: str) -> None:
    """As the Escape key does in Firefox while a page loads: requests are broken off, in some engines."""
    page.goto(server.url)
    client = Client(page, server.port, transport, reconnectionDelay=50).connect()
    client.send("before")
    assert client.wait_for_messages(1) == ["before"]
    page.evaluate("() => stop()")
    page.wait_for_timeout(300)  # an engine may do so a little later
    page.wait_for_function("(socket) => socket.connected", arg=client.socket)
    client.send("after")
    assert client.wait_for_messages(2) == ["before", "after"]
