"""xhr-multipart: each payload is a part of a multipart/x-mixed-replace response, or of a multipart/mixed one."""

import re

import pytest

from tornadio import proto

pytestmark = pytest.mark.usefixtures("each_way")

# What the browser client sends: WebKit cancels every load of multipart/x-mixed-replace that is no image and no page.
OF_THE_BROWSER_CLIENT = "multipart/mixed, */*;q=0.5"


async def test_the_response_byte_for_byte(serve):
    served = serve()
    wire = await served.connect()
    await wire.send(b"GET /socket.io/xhr-multipart//1290000000000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = (await wire.read_until(b"\r\n\r\n")).decode().split("\r\n")
    assert head[0] == "HTTP/1.1 200 OK"
    [content_type] = [line for line in head if line.startswith("Content-Type: ")]
    given = re.fullmatch(r'Content-Type: multipart/x-mixed-replace;boundary="(socketio-[0-9a-f]{32})"', content_type)
    assert given is not None, content_type
    boundary = given[1].encode()
    session_id = served.router.connections[0].session_id.encode()
    assert await wire.read_chunk() == b"--" + boundary + b"\n"
    part = b"Content-Type: text/plain; charset=UTF-8\n\n%b\n--" + boundary + b"\n"
    assert await wire.read_chunk() == part % (b"~m~32~m~" + session_id)
    assert await wire.read_chunk() == part % b"~m~7~m~welcome"
    served.router.broadcast("é中😀")
    assert await wire.read_chunk() == part % "~m~4~m~é中😀".encode()
    served.router.connections[0].close()
    assert await wire.read_chunk() == b""


@pytest.mark.parametrize("http", ["1.0", "1.1"])
async def test_multipart_mixed_is_the_same_body_for_who_prefers_it(serve, http):
    served = serve()
    bodies, content_types = [], []
    for accept in ("*/*", OF_THE_BROWSER_CLIENT):
        wire = await served.connect()
        path = "/socket.io/xhr-multipart//1290000000000"
        await wire.send(f"GET {path} HTTP/{http}\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\r\n".encode())
        head = await wire.read_head()
        content_type, _, boundary = head.headers.pop("content-type").partition(";boundary=")
        content_types.append(content_type)
        assert head.headers["vary"] == "Origin"
        [connection] = served.router.connections
        connection.close()
        body = (await wire.read_to_end()).replace(boundary.strip('"').encode(), b"BOUNDARY")
        bodies.append(body.replace(connection.session_id.encode(), b"ID"))
    assert content_types == ["multipart/x-mixed-replace", "multipart/mixed"]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("accept", [None, "*/*", "multipart/*", "multipart/mixed;q=0.2, */*", "text/html, */*;q=0.1"])
async def test_all_others_get_x_mixed_replace(serve, accept):
    head = (await serve().stream("xhr-multipart", headers={} if accept is None else {"Accept": accept})).head
    assert head.headers["content-type"].startswith('multipart/x-mixed-replace;boundary="')


async def test_each_stream_has_a_boundary_of_its_own(serve):
    served = serve()
    streams = [await served.stream("xhr-multipart") for _ in range(10)]
    session_id = served.router.connections[0].session_id
    streams.append(await served.stream("xhr-multipart", session_id))
    assert len({stream.start for stream in streams}) == len(streams)
    assert {stream.head.headers["content-type"].split('"')[1] for stream in streams} == {
        stream.start.decode()[2:-1] for stream in streams
    }


async def test_a_message_cannot_forge_a_part(serve):
    served = serve()
    stream, _ = await served.open_stream("xhr-multipart")
    others, _ = await served.open_stream("xhr-multipart")
    assert await stream.read_payload() == "~m~7~m~welcome"
    forged = f"\n--socketio\n\n~m~4~m~evil\n--socketio\n{others.start.decode()}\n~m~4~m~evil\n{others.start.decode()}"
    served.router.broadcast(forged)
    assert await stream.read_payload() == proto.encode(forged)
    assert stream.start.decode() not in forged
