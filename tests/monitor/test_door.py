"""The route of the monitor: who is let in to the page, its files, its data and its actions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
import tornado.web
from tornado.httpserver import HTTPServer
from tornado.routing import PathMatches, Rule
from tornado.testing import bind_unused_port

import tornadio
from tests.internals import admissions_of
from tests.support import FORM, ClientStream, Recorder, Response, Serve, Served, limit, until
from tornadio import proto
from tornadio.settings import PROTOCOLS

FILES = ("", "monitor.css", "monitor.js", "socket.io.js")
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def monitored(serve: Serve, authorize: Any = None, pattern: str = r"/monitor/(.*)", **more: Any) -> Served:
    arguments = {} if authorize is None else {"authorize": authorize}
    return serve(handlers=((pattern, tornadio.MonitorHandler, arguments),), **more)


async def answers(
    served: Served, headers: Mapping[str, str] | None = None, prefix: str = "/monitor"
) -> dict[str, Response]:
    """The responses to requests for everything that is below the route."""
    found = {f"GET {name}": await served.request("GET", f"{prefix}/{name}", headers) for name in (*FILES, "nothing")}
    found["HEAD "] = await served.request("HEAD", f"{prefix}/", headers)
    for transport in PROTOCOLS:
        path = f"{prefix}/socket/{transport}"
        if transport in ("websocket", "flashsocket"):
            async with contextlib.aclosing(await served.connect()) as wire:
                await wire.send_request("GET", path, {**HANDSHAKE, **(headers or {})})
                found[f"GET {transport}"] = await wire.read_head()
        else:
            found[f"GET {transport}"] = await served.request("GET", f"{path}//1", headers)
            posted = {**FORM, **(headers or {})}
            found[f"POST {transport}"] = await served.request("POST", f"{path}/0123/send", posted, b"data=~m~0~m~")
    return found


async def assert_refused(served: Served, headers: Mapping[str, str] | None = None, prefix: str = "/monitor") -> None:
    found = await answers(served, headers, prefix)
    assert {what: response.status for what, response in found.items()} == dict.fromkeys(found, 403)
    for response in found.values():
        assert response.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]


async def look(served: Served, **options: Any) -> tornadio.ClientConnection:
    """An onlooker's connection, which has got its greeting."""
    return await tornadio.connect(f"ws://127.0.0.1:{served.port}/monitor/socket", **options)


async def receive(looker: tornadio.ClientConnection, kind: str) -> Any:
    """The next message of that type."""
    async with limit():
        while True:
            message = await looker.recv()
            if message["type"] == kind:
                return message


async def ask(looker: tornadio.ClientConnection, question: Mapping[str, Any]) -> Any:
    await looker.send({"number": 7, "router": "socket.io", **question})
    return await receive(looker, "answer")


async def rows(looker: tornadio.ClientConnection, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(looker, {"type": "page", "sort": "age", **query}))["rows"]
    return found


async def test_without_authorize_this_machine_may_read(site: Serve) -> None:
    served = monitored(site)
    found = await answers(served)
    statuses = {what: response.status for what, response in found.items() if what.startswith(("GET ", "HEAD"))}
    others = dict.fromkeys(("GET flashsocket", "GET xhr-multipart", "GET jsonp-polling", "GET htmlfile"), 403)
    assert statuses == {
        **dict.fromkeys(("GET ", "GET monitor.css", "GET monitor.js", "GET socket.io.js", "HEAD "), 200),
        "GET nothing": 404,
        "GET websocket": 101,
        "GET xhr-polling": 200,
        **others,
    }
    assert found["POST xhr-polling"].status == 401  # no such session
    session_id = proto.decode(found["GET xhr-polling"].text)[0][1]
    greeting = await served.request("GET", f"/monitor/socket/xhr-polling/{session_id}/2")
    assert '"rights": "read"' in greeting.text


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Real-Ip": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Host": "example.com"},
        {"Host": "evil.localhost.example.com"},
    ],
)
async def test_without_authorize_nobody_comes_in_through_a_proxy(serve: Serve, headers: dict[str, str]) -> None:
    await assert_refused(monitored(serve), headers)


async def test_without_authorize_whoever_xheaders_trusts_is_a_proxy(serve: Serve) -> None:
    await assert_refused(monitored(serve, server={"xheaders": ["127.0.0.1"]}))
    await assert_refused(monitored(serve, server={"xheaders": True}), {"X-Real-Ip": "127.0.0.1"})


async def test_without_authorize_nobody_comes_in_behind_a_line_of_the_proxy_protocol(serve: Serve) -> None:
    served = monitored(serve, server={"xheaders": ["127.0.0.1"]})
    wire = await served.connect()
    await wire.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 9 9\r\n")
    await wire.send_request("GET", "/monitor/")
    assert (await wire.read_response()).status == 403


async def test_without_authorize_http_1_0_is_a_proxys(serve: Serve) -> None:
    wire = await monitored(serve).connect()
    await wire.send(b"GET /monitor/ HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    assert (await wire.read_response()).status == 403


@pytest.mark.parametrize("answer", [None, False])
@pytest.mark.parametrize("is_coroutine", [False, True])
async def test_whom_authorize_does_not_let_in_gets_nothing(serve: Serve, answer: Any, is_coroutine: bool) -> None:
    async def later(handler: tornadio.MonitorHandler) -> Any:
        await asyncio.sleep(0)
        return answer

    await assert_refused(monitored(serve, later if is_coroutine else lambda handler: answer))


@pytest.mark.parametrize("answer", [True, "write", "", 1, ["act"]])
async def test_another_answer_lets_nobody_in(serve: Serve, answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    found = await answers(monitored(serve, lambda handler: answer))
    assert {response.status for response in found.values()} == {500}
    assert "authorize must return 'read', 'act', None or False" in caplog.text
    caplog.clear()


async def test_who_fails_to_authorize_lets_nobody_in(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def fail(handler: tornadio.MonitorHandler) -> Any:
        raise RuntimeError("as the test asked")

    found = await answers(monitored(serve, fail))
    assert {response.status for response in found.values()} == {500}
    assert "as the test asked" in caplog.text
    caplog.clear()


async def test_authorize_sees_the_request_and_its_signed_cookies(serve: Serve) -> None:
    class Own(tornadio.MonitorHandler):
        def get_current_user(self) -> Any:
            user = self.get_signed_cookie("user")
            return user and user.decode()

    def authorize(handler: tornadio.MonitorHandler) -> Any:
        return "read" if handler.current_user == "ann" else None

    served = serve(
        handlers=((r"/monitor/(.*)", Own, {"authorize": authorize}),), application={"cookie_secret": "secret"}
    )
    assert (await served.request("GET", "/monitor/")).status == 403
    cookie = tornado.web.create_signed_value("secret", "user", "ann").decode()
    assert (await served.request("GET", "/monitor/", {"Cookie": f"user={cookie}"})).status == 200
    assert (await served.request("GET", "/monitor/", {"Cookie": f"user={cookie[:-1]}x"})).status == 403


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_other_pages_get_no_data(serve: Serve, headers: dict[str, str]) -> None:
    found = await answers(monitored(serve, lambda handler: "act"), headers)
    data = {what: response.status for what, response in found.items() if "socket" in what or "-" in what}
    data.pop("GET socket.io.js")
    assert data == dict.fromkeys(data, 403)
    for response in found.values():
        assert "access-control-allow-origin" not in response.headers


async def test_a_name_that_the_routers_do_not_know_is_refused(serve: Serve) -> None:
    await assert_refused(monitored(serve, lambda handler: "act"), {"Host": "evil.example"})
    served = monitored(serve, lambda handler: "read", settings={"hosts": ["good.example"]})
    assert (await served.request("GET", "/monitor/", {"Host": "good.example"})).status == 200


async def test_reading_is_not_acting(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = monitored(serve, lambda handler: "read")
    await served.open()
    async with await look(served) as looker:
        [row] = await rows(looker)
        for action in ("close", "send"):
            answer = await ask(looker, {"type": "act", "action": action, "message": "hello", **row})
            assert answer == {"type": "answer", "number": 7, "done": False, "text": "You may not do this."}
    assert "refused an action of 127.0.0.1" in caplog.text
    assert Recorder.opened[0].events == [("open", "")]
    caplog.clear()


async def test_a_connection_is_sent_a_message_and_closed_and_the_log_says_by_whom(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Own(tornadio.MonitorHandler):
        def get_current_user(self) -> str:
            return "ann\nfake" + "x" * 500

    served = serve(handlers=((r"/monitor/(.*)", Own, {"authorize": lambda handler: "act"}),))
    session_id, _ = await served.open()
    async with await look(served) as looker:
        assert (await receive(looker, "welcome"))["rights"] == "act"
        [row] = await rows(looker)
        assert session_id.startswith(row["id"])
        assert session_id not in str(row)
        for _ in range(20):  # more lines than of another kind
            sent = await ask(looker, {"type": "act", "action": "send", "message": {"a": 1}, **row})
            assert sent["done"]
        frames = proto.decode((await served.poll(session_id)).text)
        assert [message for _, message in frames] == [{"a": 1}] * 20
        assert (await ask(looker, {"type": "act", "action": "close", **row}))["done"]
        await Recorder.opened[0].wait_closed()
        answer = await ask(looker, {"type": "act", "action": "close", **row})
        assert answer["text"] == "This connection has ended."
    lines = [record for record in caplog.records if record.getMessage().startswith("monitor: ")]
    texts = [record.getMessage() for record in lines]
    who = (r"ann\nfake" + "x" * 500)[:120] + "..."  # no name hides what was done
    short = session_id[:8]
    assert texts[0] == f"monitor: {who} sent a message to session {short} (xhr-polling) of 127.0.0.1 (/socket.io)"
    assert texts[-1] == f"monitor: {who} closed session {short} (xhr-polling) of 127.0.0.1 (/socket.io)"
    assert len(texts) == 21
    assert {record.levelno for record in lines} == {logging.WARNING}


async def test_a_connection_that_is_closed_has_a_row_until_its_queue_is_delivered(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    served = monitored(serve, lambda handler: "act")
    session_id, _ = await served.open()
    await served.open()
    Recorder.opened[0].send("x" * 1000)
    async with await look(served) as looker:
        first, second = await rows(looker, sort="queue", descending=True)
        assert (first["closing"], second["closing"]) == (False, False)
        assert (await ask(looker, {"type": "act", "action": "close", **first}))["done"]
        found = await rows(looker, sort="queue", descending=True, text=first["id"])
        assert [(row["id"], row["closing"], row["queue"] > 1000) for row in found] == [(first["id"], True, True)]
        answer = await ask(looker, {"type": "act", "action": "send", "message": "more", **first})
        assert answer["text"] == "This connection is being closed already."
        assert "x" * 1000 in (await served.poll(session_id)).text
        await Recorder.opened[0].wait_closed()
        assert [row["id"] for row in await rows(looker)] == [second["id"]]
    caplog.clear()


async def test_no_request_is_remembered_that_is_over(serve: Serve) -> None:
    served = monitored(serve)
    async with await look(served, transports=["xhr-polling"]) as looker:
        for _ in range(10):
            await rows(looker)
        assert admissions_of(served.server) <= 1
    await until(lambda: admissions_of(served.server) == 0)


async def test_an_onlooker_who_has_gone_is_freed_at_once(serve: Serve) -> None:
    served = monitored(serve, lambda handler: "act")
    gc.collect()
    gc.disable()
    try:
        async with await look(served) as looker:
            await ask(looker, {"type": "act", "action": "close", "process": "none", "id": "", "handle": ""})
        await until(lambda: not [each for each in gc.get_objects() if isinstance(each, tornadio.MonitorHandler)])
    finally:
        gc.enable()


async def test_what_is_no_message_is_not_sent(serve: Serve) -> None:
    served = monitored(serve, lambda handler: "act")
    await served.open()
    async with await look(served) as looker:
        [row] = await rows(looker)
        for message in (None, list[Any]()):
            answer = await ask(looker, {"type": "act", "action": "send", "message": message, **row})
            assert not answer["done"]
        guessed = {**row, "handle": "0" * 18}
        assert not (await ask(looker, {"type": "act", "action": "close", **guessed}))["done"]
    assert not Recorder.opened[0].is_closed


async def test_who_may_read_does_not_act_by_the_connection_of_another(serve: Serve) -> None:
    served = monitored(serve, lambda handler: handler.request.headers["X-Right"])
    path = "/monitor/socket/xhr-polling"
    greeting = await served.request("GET", f"{path}//1", {"X-Right": "act"})
    session_id = greeting.text.removeprefix("~m~32~m~")[:32]
    question = b"data=" + quote(proto.encode({"type": "nothing", "number": 1})).encode()
    for right, status in (("read", 403), ("act", 200)):
        headers = {"X-Right": right}
        posted = await served.request("POST", f"{path}/{session_id}/send", {**FORM, **headers}, question)
        polled = await served.request("GET", f"{path}/{session_id}/1", headers)
        assert (posted.status, polled.status) == (status, status)


async def test_a_right_that_is_withdrawn_ends_actions_at_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    rights = ["act"]
    served = monitored(serve, lambda handler: rights[0])
    await served.open()
    async with await look(served) as looker:
        [row] = await rows(looker)
        rights[0] = "read"
        assert not (await ask(looker, {"type": "act", "action": "close", **row}))["done"]
    caplog.clear()


@pytest.mark.parametrize("sent", ["hello", 1, {"type": "page"}, {"type": "page", "number": "1"}, {"number": 1}])
async def test_what_is_no_question_ends_the_connection(serve: Serve, sent: Any) -> None:
    served = monitored(serve)
    async with await look(served) as looker:
        await looker.send(sent)
        async with limit():
            await looker.wait_closed()
        assert looker.close_code == 1008


@pytest.mark.parametrize(
    "question",
    [
        {"type": "nothing"},
        {"type": "page", "sort": "session_id"},
        {"type": "page", "sort": "age", "router": "other"},
        {"type": "groups"},
        {"type": "groups", "text": "", "limit": 0},
    ],
)
async def test_a_wrong_question_is_answered_with_the_error(serve: Serve, question: dict[str, Any]) -> None:
    async with await look(monitored(serve)) as looker:
        assert (await ask(looker, question))["error"]


async def test_who_asks_without_a_pause_is_made_to_wait(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tornadio.monitor.onlooker._PAUSE", 0.3)
    async with await look(monitored(serve)) as looker:
        started = asyncio.get_running_loop().time()
        for _ in range(3):
            await rows(looker)
        assert asyncio.get_running_loop().time() - started >= 0.59


async def test_the_files_are_cached_and_compressed_and_may_do_little(site: Serve) -> None:
    served = monitored(site, lambda handler: "read")
    for name in FILES:
        response = await served.request("GET", f"/monitor/{name}")
        again = await served.request("GET", f"/monitor/{name}", {"If-None-Match": response.headers["etag"]})
        assert (response.status, again.status) == (200, 304)
        compressed = await served.request("GET", f"/monitor/{name}", {"Accept-Encoding": "gzip"})
        assert compressed.headers["content-encoding"] == "gzip"
        assert len(compressed.body) < len(response.body)
        headers = response.headers
        assert headers["cache-control"] == "private, no-cache"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        policy = dict(each.strip().partition(" ")[::2] for each in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["connect-src"] == "'self' ws://127.0.0.1 wss://127.0.0.1"
    assert (await served.request("POST", "/monitor/")).status == 405


async def test_a_page_is_without_inline_script_and_style(serve: Serve) -> None:
    page = (await monitored(serve).request("GET", "/monitor/")).text
    assert "<style" not in page
    assert "style=" not in page
    assert " on" not in page.replace(" once", "").split("<main>")[0].split("<body>")[1]
    assert page.count("<script") == page.count("<script src=")


async def test_the_route_may_be_anywhere(serve: Serve) -> None:
    inner = tornado.web.Application([(r"/admin/m/(.*)", tornadio.MonitorHandler)])
    served = serve(
        handlers=(
            (r"/a/b/c/(.*)", tornadio.MonitorHandler),
            (r"/other/.*", [Rule(PathMatches(r"/other/m/(.*)"), tornadio.MonitorHandler)]),
            Rule(PathMatches(r"/admin/.*"), inner),
        )
    )
    for prefix in ("/a/b/c", "/other/m", "/admin/m"):
        assert (await served.request("GET", f"{prefix}/monitor.js")).status == 200
        async with await tornadio.connect(f"ws://127.0.0.1:{served.port}{prefix}/socket") as looker:
            assert (await receive(looker, "welcome"))["routers"] == ["socket.io"]
        await assert_refused(served, {"Via": "1.1 proxy"}, prefix)


@pytest.mark.parametrize(
    ("pattern", "arguments"),
    [
        (r"/monitor/.*", {}),
        (r"/(monitor)/(.*)", {}),
        (r"/monitor/(.*)", {"authorise": None}),
        (r"/monitor/(.*)", {"authorize": "act"}),
    ],
)
def test_a_route_that_can_not_serve_is_an_error(pattern: str, arguments: dict[str, Any]) -> None:
    application = tornado.web.Application([(pattern, tornadio.MonitorHandler, arguments)])
    with pytest.raises(tornadio.SettingsError, match=r"MonitorHandler"):
        tornadio.SocketServer(application, auto_start=False, port=0, address="127.0.0.1")


async def test_another_server_has_no_monitor() -> None:
    listener, port = bind_unused_port(address="127.0.0.1")
    server = HTTPServer(tornado.web.Application([(r"/monitor/(.*)", tornadio.MonitorHandler)]))
    server.add_socket(listener)
    async with contextlib.aclosing(await ClientStream.connect(port)) as wire:
        await wire.send_request("GET", "/monitor/monitor.js")
        assert (await wire.read_response()).status == 503
    server.stop()
    await server.close_all_connections()
