"""Every request gets a real HTTP response: its status, its reason as text, and the headers that let a page read it."""

import asyncio
import logging

import pytest

from tests.support import FORM, HTTP_TRANSPORTS, POLLING, STREAMING, Recorder, Response
from tornadio.settings import PROTOCOLS

pytestmark = pytest.mark.usefixtures("each_http")

HOST = "Host: 127.0.0.1\r\n"
# A page on another port, which is allowed, but would see status 0 without CORS headers.
PAGE = {"Origin": "http://127.0.0.1:8080"}

every_transport = pytest.mark.parametrize("transport", HTTP_TRANSPORTS)


def assert_told(response: Response, status: int, reason: str) -> None:
    """An answer that a page can read, and that nobody keeps or takes for a script."""
    assert (response.status, response.text) == (status, reason)
    assert response.headers["content-type"] == "text/plain; charset=UTF-8"
    assert response.headers["content-length"] == str(len(response.body))
    assert response.headers["access-control-allow-origin"] == "http://127.0.0.1:8080"
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["vary"] == "Origin"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "etag" not in response.headers


def events_of(connection: Recorder) -> list[str]:
    return [name for name, *_ in connection.events]


# -- Sessions ----------------------------------------------------------------------------------------------------------

UNKNOWN = "there is no such session: it has ended, or never was"


@every_transport
async def test_an_unknown_session_is_401(serve, transport):
    served = serve()
    for session_id in ("0123456789abcdef0123456789abcdef", "1", "%20", "%2F", "SEND", "x" * 4000):
        for method, body in (("GET", b""), ("POST", b"data=")):
            path = f"/socket.io/{transport}/{session_id}/1290000000000/0"
            assert_told(await served.request(method, path, PAGE, body), 401, UNKNOWN)


@every_transport
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_ended_session_is_401(serve, transport, method):
    served = serve()
    session_id = await served.start(transport)
    connection = served.router.connections[0]
    if transport in POLLING:
        connection.close()
    await served.post(session_id, "close", transport=transport)
    await connection.wait_closed()
    body = b"data=" if method == "POST" else b""
    response = await served.request(method, f"/socket.io/{transport}/{session_id}/1290000000000/0", PAGE, body)
    assert_told(response, 401, UNKNOWN)


@pytest.mark.parametrize("theirs", HTTP_TRANSPORTS)
async def test_under_another_transport_a_session_is_unknown(serve, theirs):
    served = serve()
    session_id = await served.start(theirs)
    for transport in (each for each in HTTP_TRANSPORTS if each != theirs):
        for method, body in (("GET", b""), ("POST", b"data=~m~1~m~x")):
            path = f"/socket.io/{transport}/{session_id}/1290000000000/0"
            assert_told(await served.request(method, path, PAGE, body), 401, UNKNOWN)
    assert (await served.post(session_id, "mine", transport=theirs)).text == "ok"
    assert Recorder.opened[0].events == [("open", ""), ("message", "mine")]


# -- Transports and methods --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_a_transport_that_is_not_enabled_is_403(serve, transport):
    served = serve(settings={"enabled_protocols": [name for name in PROTOCOLS if name != transport]})
    tail = "" if transport in ("websocket", "flashsocket") else "//1290000000000/0"
    response = await served.request("GET", f"/socket.io/{transport}{tail}", PAGE)
    if transport in HTTP_TRANSPORTS:
        assert_told(response, 403, f"{transport} is not enabled here")
    assert response.status == 403
    assert served.router.connections == ()


@every_transport
async def test_a_post_to_a_transport_that_is_not_enabled_is_403(serve, transport):
    served = serve(settings={"enabled_protocols": ["websocket"]})
    response = await served.request("POST", f"/socket.io/{transport}/abc/send", PAGE, b"data=")
    assert_told(response, 403, f"{transport} is not enabled here")


async def test_the_404_of_what_is_no_transport_can_be_read(serve):
    response = await serve().request("GET", "/socket.io/carrier-pigeon/", PAGE)
    assert_told(response, 404, f"not a transport of this resource: there are {', '.join(PROTOCOLS)}")


@every_transport
@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE"])
async def test_another_method_is_405(serve, transport, method):
    served = serve()
    session_id = await served.start(transport)
    for path in [f"/socket.io/{transport}//1290000000000/0", f"/socket.io/{transport}/{session_id}/1290000000000/0"]:
        response = await served.request(method, path, PAGE)
        assert response.status == 405
        assert response.headers["allow"] == "GET, POST, OPTIONS"
        assert response.headers["access-control-allow-origin"] == "http://127.0.0.1:8080"
        large = {**PAGE, "Content-Length": "1000000000"}  # its body is not read
        assert (await served.request(method, path, large)).headers["allow"] == "GET, POST, OPTIONS"
        if method != "HEAD":
            assert_told(response, 405, f"this method is not for {transport}: use GET, POST, OPTIONS")
    assert len(Recorder.opened) == 1
    assert (await served.post(session_id, "x", transport=transport)).text == "ok"


@every_transport
@pytest.mark.parametrize("method", ["PROPFIND", "TRACE", "get"])
async def test_a_method_that_nobody_knows_is_405(serve, transport, method):
    response = await serve().request(method, f"/socket.io/{transport}/", PAGE)
    assert_told(response, 405, f"this method is not for {transport}: use GET, POST, OPTIONS")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Upgrade": "websocket", "Connection": "Upgrade"},
        {"Content-Length": "99999999"},
        {"Transfer-Encoding": "chunked"},
    ],
    ids=["plain", "an upgrade", "a large body", "a chunked body"],
)
async def test_the_answer_to_head_has_no_body(serve, headers):
    wire = await serve(settings={"max_message_size": 100, "max_payload_size": 109}).connect()
    body = b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n" if "Transfer-Encoding" in headers else b""
    await wire.send_request("HEAD", "/socket.io/xhr-polling//1", {**headers, "X-Last": "1"}, body)
    head = await wire.read_head()
    assert head.status in (400, 405, 413)
    assert int(head.headers["content-length"]) > 0
    wire.writer.write_eof()
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize(("method", "kept"), [("GET", True), ("OPTIONS", False)])
async def test_http_1_0_keeps_a_connection_only_where_it_says_so(serve, method, kept):
    wire = await serve().connect()
    await wire.send(f"{method} /socket.io/xhr-polling//1 HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n\r\n".encode())
    response = await wire.read_response()
    assert response.status == 200
    assert (response.headers.get("connection") == "Keep-Alive") == kept
    if kept:
        await wire.send(f"OPTIONS /socket.io/xhr-polling//1 HTTP/1.0\r\n{HOST}\r\n".encode())
        assert (await wire.read_response()).status == 200
    assert await wire.read_to_end() == b""


async def test_another_method_with_a_body_leaves_the_connection_in_order(serve):
    wire = await serve().connect()
    for _ in range(2):
        await wire.send_request("PUT", "/socket.io/xhr-polling/", body=b"GET / HTTP/1.1\r\n\r\n")
        assert (await wire.read_response()).status == 405


# -- Bodies and frames -------------------------------------------------------------------------------------------------


@every_transport
@pytest.mark.parametrize("path", ["", "/", "//send", "//1290000000000/0"])
async def test_a_post_without_a_session_is_400(serve, transport, path):
    served = serve()
    response = await served.request("POST", f"/socket.io/{transport}{path}", {**PAGE, **FORM}, b"data=~m~1~m~x")
    assert_told(response, 400, "a POST needs a session: open one with a GET")
    assert served.router.connections == ()


# tests/transports/test_forms.py has all that a body may be.
BAD_BODIES = [
    (FORM, b"x=1", "the body must have one field data=FRAMES, it has none"),
    (FORM, b"~m~1~m~x", "the body must have one field data=FRAMES, it has none"),
    (FORM, b"xdata=~m~1~m~x", "the body must have one field data=FRAMES, it has none"),
    (FORM, b"data=~m~1~m~x&data=~m~1~m~y", "the body must have one field data=FRAMES, it has several"),
    ({}, b"~m~1~m~x", "the body must have one field data=FRAMES, it has none"),
    (FORM, b"data=~m~1~m~%FF", "the field data is not UTF-8"),
    (FORM, b"data=~m~1~m~\xff", "the field data is not UTF-8"),
    (FORM, b"data=~m~1~m~%ED%A0%80", "the field data is not UTF-8"),
    (
        {"Content-Type": "multipart/form-data; boundary=XX"},
        b'--XX\r\nContent-Disposition: form-data; name="x"\r\n\r\n~m~1~m~x\r\n--XX--\r\n',
        "the body must have one field data=FRAMES, it has none",
    ),
    (
        {"Content-Type": "multipart/form-data; boundary=XX"},
        b'--XX\r\nContent-Disposition: form-data; name="data"; filename="f"\r\n\r\n~m~1~m~x\r\n--XX--\r\n',
        "the body must have one field data=FRAMES, it has none",
    ),
]


@every_transport
async def test_a_bad_body_is_400_and_the_session_goes_on(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    for headers, body, reason in BAD_BODIES:
        given = {**PAGE, **headers, "Content-Length": str(len(body))}
        assert_told(await served.request("POST", f"/socket.io/{transport}/{session_id}/send", given, body), 400, reason)
        assert Recorder.opened[0].events == [("open", "")]
        assert (await served.post(session_id, "x", transport=transport)).text == "ok"
        Recorder.opened[0].events.pop()


@every_transport
@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=XX"])
async def test_a_multipart_body_that_is_none_is_400(serve, transport, content_type):
    served = serve()
    session_id = await served.start(transport)
    headers = {**PAGE, "Content-Type": content_type}
    response = await served.request("POST", f"/socket.io/{transport}/{session_id}/send", headers, b"--YY\r\nx")
    assert_told(response, 400, response.text)
    assert response.text.startswith("bad multipart/form-data: ")


BAD_FRAMES = [
    "x",
    "~m~1~m~",
    "~m~2~m~x",
    "~m~1",
    "~m~~m~x",
    "~m~-1~m~x",
    "~m~+1~m~x",
    "~m~1.0~m~x",
    "~m~٣~m~abc",
    "~m~99999999999999999999~m~x",
    "~m~" + "9" * 100_000,
    "~m~1~m~😀",
    " ~m~1~m~x",
    "~m~4~m~~j~{",
    "~m~6~m~~j~NaN",
    "~m~200003~m~~j~" + "[" * 100_000 + "]" * 100_000,
]


@every_transport
async def test_bad_frames_are_400_and_the_session_goes_on(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    for data in BAD_FRAMES:
        Recorder.opened[0].events.clear()
        response = await served.post_data(session_id, "~m~6~m~before" + data, transport)
        assert response.status == 400, data[:20]
        assert len(response.text) < 200
        assert response.headers["content-type"] == "text/plain; charset=UTF-8"
        assert (await served.post(session_id, "after", transport=transport)).text == "ok"
        assert Recorder.opened[0].events == [("message", "before"), ("message", "after")], data[:20]


async def test_the_reason_says_what_is_wrong_and_where(serve):
    served = serve()
    session_id = await served.start("xhr-polling")
    headers = {**PAGE, **FORM}
    path = f"/socket.io/xhr-polling/{session_id}/send"
    response = await served.request("POST", path, headers, b"data=~m~1~m~x~m~5~m~abc")
    reason = "frame at 15 says 5 UTF-16 code units, only 3 follow (lengths count as JavaScript does)"
    assert_told(response, 400, reason)


# -- on_open refuses or raises -----------------------------------------------------------------------------------------


class Refusing(Recorder):
    def on_open(self, request, *args, **kwargs):
        super().on_open(request, *args, **kwargs)
        return False


class RefusingLater(Recorder):
    async def on_open(self, request, *args, **kwargs):
        super().on_open(request, *args, **kwargs)
        return False


class RefusingAndClosing(Refusing):
    def on_open(self, request, *args, **kwargs):
        self.close()
        return super().on_open(request, *args, **kwargs)


class Failing(Recorder):
    def on_open(self, request, *args, **kwargs):
        super().on_open(request, *args, **kwargs)
        raise RuntimeError("as the test asked")


class FailingLater(Recorder):
    async def on_open(self, request, *args, **kwargs):
        super().on_open(request, *args, **kwargs)
        raise RuntimeError("as the test asked")


async def something_cancelled() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


class WaitingForSomethingCancelled(Recorder):
    async def on_open(self, request, *args, **kwargs):
        super().on_open(request, *args, **kwargs)
        await something_cancelled()


@every_transport
@pytest.mark.parametrize("connection_class", [Refusing, RefusingLater, RefusingAndClosing])
async def test_on_open_refuses_with_403(serve, transport, connection_class):
    served = serve(connection_class)
    response = await served.request("GET", f"/socket.io/{transport}//1290000000000/0", PAGE)
    assert_told(response, 403, "the application refused this connection")
    [connection] = Recorder.opened
    await connection.wait_closed()
    assert connection.is_closed
    assert connection.events == [("open", ""), ("close",)]
    assert (await served.post(connection.session_id, "x", transport=transport)).status == 401


@every_transport
@pytest.mark.parametrize("connection_class", [Failing, FailingLater, WaitingForSomethingCancelled])
async def test_an_exception_in_on_open_is_500(serve, transport, connection_class, caplog):
    served = serve(connection_class)
    response = await served.request("GET", f"/socket.io/{transport}//1290000000000/0", PAGE)
    assert_told(response, 500, "the application failed on this connection")
    [connection] = Recorder.opened
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("close",)]
    [record] = [record for record in caplog.records if record.name.startswith("tornadio")]
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)
    assert connection.session_id[:8] in record.getMessage()


@every_transport
async def test_only_false_refuses(serve, transport):
    answers: list[object] = [None, True, 0, "", [], "no"]

    class Answering(Recorder):
        def on_open(self, request, *args, **kwargs):
            return answers[len(served.router.connections)]

    served = serve(Answering)
    for number in range(len(answers)):
        await served.start(transport)
        assert len(served.router.connections) == number + 1


# -- on_message and on_close raise -------------------------------------------------------------------------------------


class FailingCoroutine(Recorder):
    async def on_message(self, message):
        super().on_message(message)


class CancelledCoroutine(Recorder):
    async def on_message(self, message):
        if message == "fail":
            self.events.append(("message", message))
            await something_cancelled()
        super().on_message(message)


@every_transport
@pytest.mark.parametrize("connection_class", [Recorder, FailingCoroutine, CancelledCoroutine])
async def test_an_exception_in_on_message_is_500_and_ends_that_connection_alone(
    serve, transport, connection_class, caplog
):
    served = serve(connection_class)
    session_id = await served.start(transport)
    other_id = await served.start(transport)
    connection, other = served.router.connections
    path = f"/socket.io/{transport}/{session_id}/send"
    response = await served.request("POST", path, {**PAGE, **FORM}, b"data=~m~1~m~a~m~4~m~fail~m~1~m~b")
    assert_told(response, 500, "the application failed on this message")
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("message", "a"), ("message", "fail"), ("close",)]
    assert served.router.connections == (other,)
    assert (await served.post(other_id, "x", transport=transport)).text == "ok"
    [record] = [record for record in caplog.records if record.name.startswith("tornadio")]
    assert record.exc_info is not None
    assert record.getMessage() == f"session {session_id[:8]} ({transport}): on_message failed"


@pytest.mark.parametrize("transport", POLLING)
async def test_what_was_sent_before_the_exception_can_still_be_fetched(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    assert (await served.post(session_id, "a", "fail", transport=transport)).status == 500
    assert "~m~1~m~a" in (await served.poll(session_id, transport)).text
    assert (await served.poll(session_id, transport)).status == 401


@pytest.mark.parametrize("transport", STREAMING)
async def test_the_stream_of_a_failed_connection_ends_with_what_was_sent(serve, transport):
    served = serve()
    stream, session_id = await served.open_stream(transport)
    assert await stream.read_payload() == "~m~7~m~welcome"
    assert (await served.post(session_id, "a", "fail", transport=transport)).status == 500
    assert await stream.read_payload() == "~m~1~m~a"
    assert await stream.read_payload() == ""


@every_transport
async def test_an_exception_in_on_close_is_logged_and_changes_nothing(serve, transport, caplog):
    class FailingAtLast(Recorder):
        def on_close(self):
            super().on_close()
            raise RuntimeError("as the test asked")

    served = serve(FailingAtLast)
    session_id = await served.start(transport)
    [connection] = served.router.connections
    assert (await served.post(session_id, "close", transport=transport)).text == "ok"
    await connection.wait_closed()
    await served.barrier()
    assert events_of(connection) == ["open", "message", "close"]
    [record] = [record for record in caplog.records if record.name.startswith("tornadio")]
    assert record.exc_info is not None


@every_transport
async def test_a_constructor_that_raises_is_500(serve, transport, caplog):
    class Unmade(Recorder):
        def __init__(self):
            raise RuntimeError("as the test asked")

    served = serve(Unmade)
    response = await served.request("GET", f"/socket.io/{transport}//1290000000000/0", PAGE)
    assert_told(response, 500, "the server failed on this request")
    assert "as the test asked" in caplog.text
    assert served.router.connections == ()
