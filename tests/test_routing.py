"""Which URLs a router serves, what they mean, and what it leaves to the application."""

import functools
import pkgutil

import pytest
import tornado.web

import tornadio
from tests.support import HTTP_TRANSPORTS, STREAMING, Recorder, Served, until
from tornadio import proto
from tornadio.errors import SettingsError
from tornadio.settings import HANDLERS, PROTOCOLS

TRANSPORTS_WITH_PLAIN_URLS = ("xhr-polling", *STREAMING)


class Page(tornado.web.RequestHandler):
    """The application's own."""

    def get(self) -> None:
        self.write("the application's own")


class Silent(Recorder):
    """A Recorder that does not greet."""

    def on_open(self, request, *args, **kwargs):
        self.events.append(("open", kwargs["extra"]))
        self.request = request
        Recorder.opened.append(self)


async def status_of(served: Served, path: str) -> int:
    """The status of a GET, whose body may never end."""
    wire = await served.connect()
    await wire.send_request("GET", path)
    return (await wire.read_head()).status


# -- A new session -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS_WITH_PLAIN_URLS)
@pytest.mark.parametrize("tail", ["//1290000000000", "/", "", "//1290000000000?a=b", "/?a=b", "?a=b", "//", "///1290"])
async def test_get_without_session_id_opens_a_session(serve, transport, tail):
    served = serve()
    assert await status_of(served, f"/socket.io/{transport}{tail}") == 200
    assert [connection.transport for connection in served.router.connections] == [transport]


@pytest.mark.parametrize("tail", ["//1290000000000/0", "//1290000000000/7?a=b", "///1"])
async def test_get_without_session_id_opens_a_jsonp_session(serve, tail):
    served = serve()
    assert await status_of(served, f"/socket.io/jsonp-polling{tail}") == 200
    assert [connection.transport for connection in served.router.connections] == ["jsonp-polling"]


@pytest.mark.parametrize("transport", ["websocket", "flashsocket"])
@pytest.mark.parametrize("tail", ["", "/", "?a=b", "/?a=b", "/123", "/123/456", "/123?a=b"])
async def test_websocket_urls_may_end_in_anything(serve, transport, tail):
    response = await serve().request("GET", f"/socket.io/{transport}{tail}")
    assert (response.status, response.text) == (400, 'this is a WebSocket: "Upgrade: websocket" is missing')


def test_each_transport_stands_in_paths_as_it_does_in_settings():
    handlers = {name: pkgutil.resolve_name(handler) for name, handler in HANDLERS.items()}
    assert {name: handler.transport for name, handler in handlers.items()} == {name: name for name in PROTOCOLS}


# -- Reading and writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["/1290000000000", "", "/", "/1290000000000?a=b", "?a=b", "/some/odd//tail/"])
async def test_get_with_session_id_polls(serve, tail):
    served = serve()
    session_id, _ = await served.open()
    served.router.broadcast("news")
    response = await served.request("GET", f"/socket.io/xhr-polling/{session_id}{tail}")
    assert (response.status, response.text) == (200, "~m~4~m~news")


@pytest.mark.parametrize("transport", STREAMING)
@pytest.mark.parametrize("tail", ["/1290000000000", "", "/?a=b", "/some/odd//tail/"])
async def test_get_with_session_id_streams(serve, transport, tail):
    served = serve()
    session_id = await served.start(transport)
    assert await status_of(served, f"/socket.io/{transport}/{session_id}{tail}") == 200
    assert len(served.router.connections) == 1


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
@pytest.mark.parametrize(
    "tail",
    ["/send", "", "/", "/send/", "/1290000000000", "/1290000000000/0", "/send//0", "/send/1290000000000", "/send?a=b"],
)
async def test_post_writes_whatever_the_tail(serve, transport, tail):
    served = serve()
    session_id = await served.start(transport)
    response = await served.request(
        "POST", f"/socket.io/{transport}/{session_id}{tail}", body=b"data=" + proto.encode("hello").encode()
    )
    assert (response.status, response.text) == (200, "ok")
    assert ("message", "hello") in Recorder.opened[-1].events


# -- The resource and the extra ----------------------------------------------------------------------------------------


async def test_extra_is_empty_where_none_was_asked_for(serve):
    await serve().open()
    assert Recorder.opened[-1].events == [("open", "")]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_extra_stands_between_resource_and_transport(serve, transport):
    served = serve(resource="chat", extra_re=r"\d+", extra_sep="/")
    assert await status_of(served, f"/chat/123/{transport}//1290000000000/0") == 200
    assert Recorder.opened[-1].events == [("open", "123")]


@pytest.mark.parametrize(
    ("extra_re", "extra_sep", "path", "extra"),
    [
        (r"\d+", None, "/chat123/xhr-polling/", "123"),
        (r"\d+", "-", "/chat-123/xhr-polling/", "123"),
        (r"\d+", ".", "/chat.123/xhr-polling/", "123"),
        (r"(a+)(b+)", "/", "/chat/aabbb/xhr-polling/", "aabbb"),
        (r"red|green", "/", "/chat/green/xhr-polling/", "green"),
        (r"[^/]+/[^/]+", "/", "/chat/room/7/xhr-polling/", "room/7"),
        (r"(?:/\d+)?", None, "/chat/xhr-polling/", ""),
        (r"(?:/\d+)?", None, "/chat/5/xhr-polling/", "/5"),
        (r"[^/]+", "/", "/chat/%C3%A9%20+/xhr-polling/", "é +"),
        (r".+", "/", "/chat/%C3%A9%20%2F+/xhr-polling/", "é /+"),
        (r"^\d+$", "/", "/chat/123/xhr-polling/", "123"),
        (r"(?i)[a-f]+", "/", "/chat/aBc/xhr-polling/", "aBc"),
        (r"", "/", "/chat//xhr-polling/", ""),
        # The transport is the last one with a fitting extra before it.
        (r".+", "/", "/chat/xhr-polling/a/xhr-polling/", "xhr-polling/a"),
        (r"[^/]+", "/", "/chat/room/xhr-polling//xhr-polling/websocket/1", "room"),
        (r"[^/]+", "/", "/chat/websocket/xhr-polling//1", "websocket"),
        (r".+", "/", "/chat/room/jsonp-polling//1/1", "room"),
        (r".+", "/", "/chat/room/xhr-polling//1", "room"),
    ],
)
async def test_extra_is_the_one_string_that_extra_re_matched(serve, extra_re, extra_sep, path, extra):
    served = serve(resource="chat", extra_re=extra_re, extra_sep=extra_sep)
    assert await status_of(served, path) == 200
    assert Recorder.opened[-1].events == [("open", extra)]


@pytest.mark.parametrize(
    "path",
    [
        "/chat/abc/xhr-polling/",
        "/chat/xhr-polling/",
        "/chat/12a/xhr-polling/",
        "/chat/abc/websocket",
        "/chat/abc/jsonp-polling//1290000000000/0",
        "/chat/abc/jsonp-polling/5/1290000000000/1",
    ],
)
async def test_without_a_matching_extra_there_is_no_session(serve, path):
    served = serve(resource="chat", extra_re=r"\d+", extra_sep="/")
    response = await served.request("GET", path)
    assert response.status == 404
    assert response.text == "what stands between resource and transport, the extra, is not what extra_re matches"
    assert served.router.connections == ()


@pytest.mark.parametrize("path", ["/chat/12/", "/chat/12/nonsense/", "/chat/xhr-pollingx/"])
async def test_where_an_extra_may_stand_an_unknown_transport_is_named_as_such(serve, path):
    response = await serve(resource="chat", extra_re=r"\d+", extra_sep="/").request("GET", path)
    assert response.text == f"not a transport of this resource: there are {', '.join(PROTOCOLS)}"


@pytest.mark.parametrize("path", ["/chat/1/websocket/abc", "/chat/1/xhr-polling/abc?t=1290000000000"])
async def test_a_newer_client_is_told_where_an_extra_is_missing(serve, path):
    response = await serve(resource="chat", extra_re="[a-z]+", extra_sep="/").request("GET", path)
    assert response.text.startswith("this server speaks Socket.IO 0.6, not 0.7 or newer: ")


async def test_polls_and_posts_carry_the_extra_too(serve):
    served = serve(resource="chat", extra_re=r"\d+", extra_sep="/")
    opened = await served.request("GET", "/chat/123/xhr-polling//1290000000000")
    (_, session_id), *_ = proto.decode(opened.text)
    posted = await served.request("POST", f"/chat/123/xhr-polling/{session_id}/send", body=b"data=~m~5~m~hello")
    assert posted.text == "ok"
    polled = await served.request("GET", f"/chat/123/xhr-polling/{session_id}/1290000000000")
    assert polled.text == "~m~7~m~welcome~m~5~m~hello"


@pytest.mark.parametrize("resource", ["chat", "a/b", "socket.io", "c++", "/chat/"])
async def test_resource_is_taken_literally(serve, resource):
    served = serve(resource=resource)
    await served.open(resource=resource.strip("/"))
    assert len(served.router.connections) == 1


@pytest.mark.parametrize("resource", ["socket.io/*", "/socket.io/*"])
async def test_the_default_of_tornadio_0_0_5_is_the_same_resource(serve, resource):
    served = serve(resource=resource)
    await served.open(resource="socket.io")
    assert len(served.router.connections) == 1


@pytest.mark.parametrize(
    ("resource", "hint"),
    [
        ("", ""),
        ("/", ""),
        ("*", ""),
        ("/*", ""),
        (None, ""),
        (b"chat", ""),
        (1, ""),
        ("chat room", ": write 'chat%20room'"),
        ("chat?", ": write 'chat%3F'"),
        ("chat#1", ": write 'chat%231'"),
        ("café", ": write 'caf%C3%A9'"),
        ("chat\n", ": write 'chat%0A'"),
        ("a/b c", ": write 'a/b%20c'"),
        ("c++%20 x", ": write 'c++%20%20x'"),
        ("\ud800", ""),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        functools.partial(tornadio.get_router, Recorder),
        functools.partial(tornadio.Emitter, "redis://localhost"),
        functools.partial(tornadio.AsyncEmitter, "redis://localhost"),
    ],
    ids=["router", "emitter", "emitter for asyncio"],
)
def test_a_resource_that_no_path_begins_with_is_an_error_that_says_what_is_right(make, resource, hint):
    with pytest.raises(SettingsError) as caught:
        make(resource=resource)
    assert str(caught.value) == (
        f"resource must be the first part of a URL's path, such as 'socket.io', not {resource!r}{hint}"
    )


async def test_resources_of_one_application_are_apart(serve):
    class Chat(Silent):
        pass

    class Chatroom(Silent):
        pass

    rooms = tornadio.get_router(Chatroom, resource="chatroom")
    served = serve(Chat, resource="chat", handlers=(rooms.route(),))
    await served.open(resource="chatroom")
    await served.open(resource="chat")
    assert [type(connection) for connection in Recorder.opened[-2:]] == [Chatroom, Chat]
    assert len(served.router.connections) == len(rooms.connections) == 1


async def test_a_session_belongs_to_its_resource(serve):
    rooms = tornadio.get_router(Recorder, resource="chatroom")
    served = serve(resource="chat", handlers=(rooms.route(),))
    session_id, _ = await served.open(resource="chat")
    assert await status_of(served, f"/chatroom/xhr-polling/{session_id}/1290000000000") == 401


# -- What is not served ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/123",
        "/socket.io",
        "/socketXio/xhr-polling/",
        "/socket.iox/xhr-polling/",
        "/xsocket.io/xhr-polling/",
        "/app/socket.io/xhr-polling/",
        "/xhr-polling/",
        "/socket.io.js",
        "//socket.io/xhr-polling/",
        "/Socket.IO/xhr-polling/",
    ],
)
async def test_the_application_keeps_everything_else(serve, path):
    response = await serve(handlers=((r".*", Page),)).request("GET", path)
    assert response.text == "the application's own"


@pytest.mark.parametrize(
    "path",
    [
        "/socket.io/xhr",
        "/socket.io/xhr-pollingx/",
        "/socket.io/XHR-polling/",
        "/socket.io/websocketx/",
        "/socket.io//xhr-polling/",
        "/socket.io/123/xhr-polling/",
        "/socket.io/no/such/thing",
        "/socket.io/x.js",
    ],
)
async def test_what_is_no_transport_is_404(serve, path):
    response = await serve(handlers=((r".*", Page),)).request("GET", path, {"Origin": "http://127.0.0.1"})
    assert response.status == 404
    assert response.text == f"not a transport of this resource: there are {', '.join(PROTOCOLS)}"
    assert response.headers["access-control-allow-origin"] == "http://127.0.0.1"


@pytest.mark.parametrize(
    "path",
    [
        "/chat/1/",
        "/chat/1/?t=1290000000000&jsonp=0",
        "/chat/1",
        "/chat/5/1/?t=1290",
        "/chat/?EIO=4&transport=polling&t=abc",
        "/chat?EIO=3&transport=polling",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_newer_clients_are_told(serve, caplog, path, method):
    served = serve(resource="chat", extra_re=r"(?:/\d+)?")
    response = await served.request(method, path)
    assert response.status == 404
    assert response.text.startswith("this server speaks Socket.IO 0.6, not 0.7 or newer: load the client")
    [record] = [record for record in caplog.records if record.name.startswith("tornadio") and record.levelno > 20]
    assert record.getMessage().startswith(f"404 {method} {path} (127.0.0.1): this server speaks Socket.IO 0.6, not 0.7")


OF_NEWER_CLIENTS = (
    "/1",
    "/1/",
    "/1/?t=1290000000000",
    "/1/?t=1290000000000&jsonp=0",
    "/1/websocket/4d4f185e96a7b",
    "/1/flashsocket/4d4f185e96a7b",
    "/1/htmlfile/4d4f185e96a7b",
    "/1/xhr-polling/4d4f185e96a7b?t=1290000000000",
    "/1/xhr-polling/4d4f185e96a7b/?disconnect=1",
    "/1/jsonp-polling/4d4f185e96a7b?t=1290000000000&i=0",
    "/?EIO=4&transport=polling",
    "/?transport=polling&EIO=3",
)
# What clients of 0.6 ask for whose page has 1 in the place of an extra that there is none of, and what nobody does.
OF_OTHERS = (
    "/1/websocket",
    "/1/websocket/",
    "/1/flashsocket",
    "/1/xhr-polling//1290000000000",
    "/1/xhr-polling/0123456789/1290000000000",
    "/1/xhr-polling/0123456789/send",
    "/1/xhr-multipart//1290000000000",
    "/1/jsonp-polling//1290000000000/0",
    "/1/htmlfile//1290000000000",
    "/room/1/websocket",
    "/room/1/websocket/4d4f185e96a7b",
    "/room/1/",
    "/1/nonsense",
    "/1/nonsense/4d4f185e96a7b",
    "/11/",
    "/?NOT_EIO=4&transport=polling",
)
NEWER_HINT = "this server speaks Socket.IO 0.6, not 0.7 or newer: "


@pytest.mark.parametrize("resource", ["chat", "a/b", "chat/1"])
@pytest.mark.parametrize(
    ("extra_re", "extra_sep"), [(None, None), ("[a-z]{2}", "/"), (r"\d{3}", "-"), ("^(?:/x)?$", "")]
)
async def test_a_hint_for_newer_clients_is_for_what_these_ask_for_alone(serve, resource, extra_re, extra_sep):
    served = serve(resource=resource, extra_re=extra_re, extra_sep=extra_sep, handlers=((r".*", Page),))
    for tail in OF_NEWER_CLIENTS:
        response = await served.request("GET", f"/{resource}{tail}")
        assert (response.status, response.text.startswith(NEWER_HINT)) == (404, True), tail
    for tail in OF_OTHERS:
        response = await served.request("GET", f"/{resource}{tail}")
        assert NEWER_HINT not in response.text, tail
        assert response.status == (200 if "?" in tail else 404)


@pytest.mark.parametrize(
    ("extra_re", "extra_sep", "extra"),
    [(r"\d+", "/", "/5"), (r"\d+", "/", "/1"), (r"\d+", "-", "-5"), (r"(?:/\d+)?", "", "/5"), ("^[a-z]+$", ".", ".x")],
)
async def test_a_newer_client_whose_page_has_an_extra_is_told_too(serve, extra_re, extra_sep, extra):
    served = serve(resource="chat", extra_re=extra_re, extra_sep=extra_sep, handlers=((r".*", Page),))
    for tail in ("/1/", "/1/?t=1290000000000&jsonp=0", "/1/websocket/4d4f185e96a7b"):
        assert (await served.request("GET", f"/chat{extra}{tail}")).text.startswith(NEWER_HINT)
    assert NEWER_HINT not in (await served.request("GET", f"/chat{extra}/1/websocket")).text
    assert NEWER_HINT not in (await served.request("GET", f"/chat{extra}x1/websocket")).text


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
@pytest.mark.parametrize("extra_sep", ["/", "-", "."])
async def test_an_extra_may_be_the_version_of_newer_clients(serve, transport, extra_sep):
    served = serve(resource="chat", extra_re=r"\d+", extra_sep=extra_sep)
    assert await status_of(served, f"/chat{extra_sep}1/{transport}//1290000000000/0") == 200
    assert Recorder.opened[-1].events == [("open", "1")]


# -- What the application sees -----------------------------------------------------------------------------------------


async def test_open_sessions_are_listed_oldest_first(serve):
    served = serve()
    ids = [await served.start(transport) for transport in HTTP_TRANSPORTS]
    assert [connection.session_id for connection in served.router.connections] == ids
    await served.post(ids[0], "close", transport=HTTP_TRANSPORTS[0])
    await until(lambda: len(served.router.connections) == len(ids) - 1)


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_on_open_sees_the_request(serve, transport):
    served = serve()
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/{transport}//1/0?a=b", {"Cookie": "user=eve", "X-Test": "yes"})
    await wire.read_head()
    connection = Recorder.opened[-1]
    assert connection.request.cookies["user"].value == "eve"
    assert connection.request.headers["X-Test"] == "yes"
    assert connection.request.remote_ip == "127.0.0.1"
    assert connection.request.arguments == {"a": [b"b"]}
    assert connection.transport == transport


async def test_the_router_broadcasts_to_all_but_those_excluded(serve):
    served = serve()
    ids = [await served.start("xhr-polling") for _ in range(3)]
    served.router.broadcast("news", exclude=served.router.connections[:1])
    served.router.connections[0].send("for you")
    assert [(await served.poll(session_id)).text for session_id in ids] == [
        "~m~7~m~for you",
        "~m~4~m~news",
        "~m~4~m~news",
    ]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_one_connection_may_close_another(serve, transport):
    class Executioner(Recorder):
        def on_message(self, message):
            for connection in served.router.connections:
                if connection is not self:
                    connection.close()
                    connection.send("too late")

    served = serve(Executioner)
    victim = await served.start(transport)
    executioner = await served.start(transport)
    assert (await served.post(executioner, "now", transport=transport)).text == "ok"
    await Recorder.opened[0].wait_closed()
    assert [connection.session_id for connection in served.router.connections] == [executioner]
    assert (await served.post(victim, "x", transport=transport)).status == 401
