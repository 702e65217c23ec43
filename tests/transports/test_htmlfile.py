"""htmlfile: each payload is a script in a page that never finishes loading."""

import pytest
import simplejson

from tests.texts import IN_SCRIPTS


async def test_the_response_byte_for_byte(serve):
    served = serve()
    wire = await served.connect()
    await wire.send(b"GET /socket.io/htmlfile//1290000000000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = (await wire.read_until(b"\r\n\r\n")).split(b"\r\n")
    assert head[0] == b"HTTP/1.1 200 OK"
    assert b"Content-Type: text/html; charset=UTF-8" in head
    assert b"Transfer-Encoding: chunked" in head
    session_id = served.router.connections[0].session_id.encode()
    assert await wire.read_chunk() == b"<html><body>" + b" " * 244
    assert await wire.read_chunk() == b'<script>parent.s._("~m~32~m~%b", document);</script>' % session_id
    assert await wire.read_chunk() == b'<script>parent.s._("~m~7~m~welcome", document);</script>'
    served.router.broadcast({"a": "b"})
    frame = rb"~m~13~m~~j~{\"a\": \"b\"}"
    assert await wire.read_chunk() == b'<script>parent.s._("%b", document);</script>' % frame
    served.router.connections[0].close()
    assert await wire.read_chunk() == b""


async def test_the_first_chunk_has_256_bytes_on_every_stream(serve):
    served = serve()
    _, session_id = await served.open_stream("htmlfile")
    for stream in [await served.stream("htmlfile"), await served.stream("htmlfile", session_id)]:
        assert len(stream.start) >= 256
        assert stream.start.startswith(b"<html><body>")


@pytest.mark.parametrize("message", IN_SCRIPTS)
async def test_nothing_in_a_message_leaves_the_string_or_the_script(serve, message):
    served = serve()
    stream, _ = await served.open_stream("htmlfile")
    await stream.read_payload()
    served.router.broadcast(message)
    script = (await stream.wire.read_chunk()).decode("ascii")
    assert script.startswith('<script>parent.s._("')
    assert script.endswith('", document);</script>')
    literal = script.removeprefix("<script>parent.s._(").removesuffix(", document);</script>")
    assert not set("<>&\n\r\0\x1b") & set(literal)
    assert simplejson.loads(literal).endswith(message)
