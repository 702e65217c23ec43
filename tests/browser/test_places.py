"""Where the script runs: frames and workers, which may have no host in their URL, sandboxes, hosts that are written in
several ways, pages whose policies forbid something. Each was a report about a client of this family."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from playwright.sync_api import Page as PlaywrightPage

from tests.appserver import AppServer
from tests.browser.client_pages import Client, session
from tests.browser.scenes import eventually
from tests.browser_fixtures import NETWORK_ERRORS
from tests.engines import Page
from tests.support import OF_BROWSERS

in_each_engine = pytest.mark.engines
decided_by_the_script = pytest.mark.engines("chromium", because="the client's script decides it by itself")
provokes_network_errors = pytest.mark.page_errors(*NETWORK_ERRORS)
# A server takes longer to miss a client that polls and says no word.
SOON_SECONDS = 15
# A socket, and the answer to its question.
ASK = """
  const options = { transports: TRANSPORTS, connectTimeout: 30000, rememberTransport: false, OPTIONS };
  const socket = new io.Socket(HOST, options);
  const answer = new Promise((resolve) => {
    socket.on('connect_failed', () => resolve('connect_failed')).on('message', resolve);
  });
  socket.connect().send('about');
"""


# Frames and workers, which may have no host in their URL


@in_each_engine
@pytest.mark.parametrize("kind", ["srcdoc", "about:blank", "blob"])
@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_a_frame_without_a_url_has_the_server_of_its_page(
    page: Page, server: AppServer, kind: str, transport: str
) -> None:
    page.goto(server.url)
    found = page.evaluate(
        """async ([kind, ask]) => {
          const html = `<!DOCTYPE html><script src="${location.origin}/socket.io/socket.io.js"><\\/script>
            <script>${ask}; answer.then((found) => parent.postMessage(found, '*'));<\\/script>`;
          const answer = new Promise((resolve) => addEventListener('message', ({ data }) => resolve(data)));
          const frame = document.createElement('iframe');
          if (kind === 'srcdoc') frame.srcdoc = html;
          if (kind === 'blob') frame.src = URL.createObjectURL(new Blob([html], { type: 'text/html' }));
          document.body.append(frame);
          if (kind === 'about:blank') {
            frame.contentDocument.open();
            frame.contentDocument.write(html);
            frame.contentDocument.close();
          }
          return (await answer).transport;
        }""",
        [kind, ask(transport)],
    )
    assert found == transport


@in_each_engine
@provokes_network_errors
@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_a_frame_that_its_page_removes_ends_its_session(page: Page, server: AppServer, transport: str) -> None:
    page.goto(server.url)
    session_id = page.evaluate(
        """(ask) => new Promise((resolve) => {
          addEventListener('message', ({ data }) => {
            frame.remove();
            resolve(data.session);
          });
          const frame = document.createElement('iframe');
          frame.srcdoc = `<!DOCTYPE html><script src="${location.origin}/socket.io/socket.io.js"><\\/script>
            <script>${ask}; answer.then((found) => parent.postMessage(found, '*'));<\\/script>`;
          document.body.append(frame);
        })""",
        ask(transport),
    )
    removed_at = time.monotonic()
    eventually(lambda: session(server, session_id)["ended"], True)
    assert time.monotonic() - removed_at < SOON_SECONDS


@in_each_engine
@provokes_network_errors
def test_a_sandbox_connects_over_what_it_admits(page: Page, server: AppServer) -> None:
    """It has neither cookies nor an origin, and can't reach into its own hidden frames."""
    page.goto(server.url)
    found = page.evaluate(
        """(ask) => new Promise((resolve) => {
          addEventListener('message', ({ data }) => resolve(data));
          const frame = document.createElement('iframe');
          frame.sandbox = 'allow-scripts';
          frame.srcdoc = `<!DOCTYPE html><script src="${location.origin}/socket.io/socket.io.js"><\\/script><script>
            const asked = (TRANSPORTS) => { ${ask} return answer.then((found) => found.transport ?? found); };
            (async () => {
              const found = [];
              for (const each of [['websocket'], ['xhr-multipart'], ['xhr-polling'], ['jsonp-polling', 'htmlfile']]) {
                found.push(await asked(each));
              }
              parent.postMessage(found, '*');
            })();<\\/script>`;
          document.body.append(frame);
        })""",
        ask(None, host="'localhost'", options=f"port: {server.port}, resource: 'everybody'"),
    )
    assert found == ["websocket", "xhr-multipart", "xhr-polling", "connect_failed"]


def ask(transport: str | None, host: str = "undefined", options: str = "") -> str:
    """The script for a transport, or one that knows TRANSPORTS."""
    transports = "TRANSPORTS" if transport is None else f"['{transport}']"
    return ASK.replace("TRANSPORTS", transports).replace("HOST", host).replace("OPTIONS", options)


@in_each_engine
@pytest.mark.parametrize("kind", ["classic", "module"])
def test_a_worker_connects(page: Page, server: AppServer, kind: str) -> None:
    """Over all that need no document."""
    page.goto(server.url)
    found = page.evaluate(
        """([kind, ask]) => new Promise((resolve) => {
          const load = kind === 'module'
            ? `import io from '${location.origin}/socket.io/socket.io.mjs';`
            : `importScripts('${location.origin}/socket.io/socket.io.js');`;
          const script = `${load}
            const asked = (TRANSPORTS) => { ${ask} return answer.then((found) => found.transport ?? found); };
            (async () => {
              const found = [];
              for (const each of [['websocket'], ['xhr-multipart'], ['xhr-polling'], ['jsonp-polling', 'htmlfile']]) {
                found.push(await asked(each));
              }
              postMessage(found);
            })();`;
          const url = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
          const worker = new Worker(url, { type: kind });
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = ({ message }) => resolve(message);
        })""",
        [kind, ask(None)],
    )
    assert found == ["websocket", "xhr-multipart", "xhr-polling", "connect_failed"]


# Hosts


@decided_by_the_script
@pytest.mark.parametrize(
    "host",
    ["http://localhost", "//localhost", "localhost:8001", "localhost/", "ann@localhost", "local host", "[::1"],
)
def test_what_is_no_host_is_refused_with_a_word_of_what_is_one(page: Page, server: AppServer, host: str) -> None:
    page.goto(server.url)
    told = page.evaluate(
        """(host) => {
          try {
            new io.Socket(host, { transports: ['websocket'] });
          } catch (error) {
            return String(error);
          }
        }""",
        host,
    )
    assert told == (f"TypeError: io.Socket takes a host such as 'example.com', and the port as an option, not '{host}'")


@in_each_engine
@pytest.mark.parametrize("host", ["::1", "[::1]", "LOCALHOST", "127.0.0.1"])
def test_a_host_may_be_written_as_programs_have_it(page: Page, server: AppServer, host: str) -> None:
    page.goto(f"http://{'[::1]' if ':' in host else host}:{server.port}/")
    found = page.evaluate(
        "([host, port, ask]) => new Function('HOST', `${ask}; return answer;`)(host)",
        [host, server.port, ask("websocket", host="HOST")],
    )
    assert found["transport"] == "websocket"


# Policies


@in_each_engine
@provokes_network_errors
def test_a_page_of_a_strict_policy_connects_over_what_it_admits(
    page: PlaywrightPage, server: AppServer, page_errors: list[str]
) -> None:
    """No scripts but those that the page names, and no text made to markup (Trusted Types): no hidden frames, then."""
    policy = "require-trusted-types-for 'script'"
    page.goto(f"{server.url}/?policy={quote(policy)}")
    for transport in OF_BROWSERS:
        client = Client(page, server.port, transport, "xhr-polling").connect()
        client.send("hello")
        assert client.wait_for_messages(1) == ["hello"]
        client.disconnect()
    page_errors.clear()  # reports of the policy


@pytest.mark.engines("chromium", "firefox", because="the driver of WebKit does not tell what it has blocked")
@provokes_network_errors
def test_an_isolated_page_may_load_the_script_from_elsewhere(
    page: Page, server: AppServer, other_server: AppServer
) -> None:
    """Such a page, which may have shared memory, loads nothing that does not say that others may have it."""
    headers = ("Cross-Origin-Embedder-Policy: require-corp", "Cross-Origin-Opener-Policy: same-origin")
    page.goto(f"{other_server.url}/?{'&'.join(f'header={quote(header)}' for header in headers)}")
    loaded = page.evaluate(
        """(url) => new Promise((resolve) => {
          delete window.io;
          const script = Object.assign(document.createElement('script'), { src: url });
          script.onload = script.onerror = ({ type }) => resolve([crossOriginIsolated, type]);
          document.head.append(script);
        })""",
        f"{server.url}/socket.io/socket.io.js",
    )
    assert loaded == [True, "load"]
    for transport in ("websocket", "xhr-multipart", "xhr-polling"):
        client = Client(page, server.port, transport).connect()
        client.send("hello")
        assert client.wait_for_messages(1) == ["hello"]
