"""The setting `json`: objects without the mark `~j~`, on every transport, whichever way they are sent."""

from __future__ import annotations

import asyncio
import threading
from urllib.parse import quote

import pytest

import tornadio
from tests.clients import greeted, open_client, received
from tests.support import BARE_FORM, HTTP_TRANSPORTS, Recorder, until
from tests.texts import frame, json_frame
from tornadio.settings import PROTOCOLS

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)

PLAIN = {"json": "plain"}


@every_transport
async def test_objects_go_and_come_without_a_mark(serve, transport):
    client = await greeted(serve(settings=PLAIN), transport)
    # The test's client reads the marked format, in which bare JSON is text.
    await client.send('{"n": 1, "é": ["😀", null]}', {"n": 2}, '["n", 3]', "{n: 4}", "5", "é", '"6"')
    await client.send("last")
    assert await received(client) == [
        '{"n": 1, "\\u00e9": ["\\ud83d\\ude00", null]}',
        '{"n": 2}',
        "n",
        "3",
        "{n: 4}",
        "5",
        "é",
        '"6"',
    ]
    messages = [event[1] for event in Recorder.opened[0].events if event[0] == "message"]
    assert messages[:-1] == [{"n": 1, "é": ["😀", None]}, {"n": 2}, ["n", 3], "{n: 4}", "5", "é", '"6"']


@every_transport
async def test_in_the_marked_format_bare_json_is_text(serve, transport):
    client = await greeted(serve(), transport)
    await client.send('{"n": 1}', {"n": 2}, "last")
    assert await received(client) == ['{"n": 1}', {"n": 2}]


async def test_a_form_whose_newlines_have_changed_is_read_as_plain_json_too(serve):
    served = serve(settings=PLAIN)
    session_id = await served.start("jsonp-polling")
    data = frame('{"text":\n"a"}').replace("\n", "\r\n")
    body = b"data=" + quote(data).encode()
    path = f"/socket.io/jsonp-polling/{session_id}/1290000000000/0"
    assert (await served.request("POST", path, BARE_FORM, body)).status == 200
    assert ("message", {"text": "a"}) in Recorder.opened[0].events


@every_transport
async def test_what_is_sent_to_many_is_plain_and_texts_are_shared_with_marked_routers(serve, transport):
    plain, marked = serve(settings=PLAIN), serve()
    clients = [await greeted(served, transport) for served in (plain, plain, marked)]
    connections = list(Recorder.opened)
    for served, members in ((plain, connections[:2]), (marked, connections[2:])):
        for connection in members:
            served.router.group("blue").add(connection)
    message, text = {"n": 1}, "the same"
    for served in (plain, marked):
        served.router.broadcast(message)
        served.router.group("blue").send(message)
    for connection in connections:
        connection.send(message)
        connection.send(text)
        connection.send([message, (text,)])
    connections[0].broadcast(message)
    for connection in connections:
        connection.send("last")
    bare = ['{"n": 1}', '{"n": 1}', '{"n": 1}', text, '{"n": 1}', '["the same"]']
    assert await received(clients[0]) == bare
    assert await received(clients[1]) == [*bare, '{"n": 1}']
    assert await received(clients[2]) == [message, message, message, text, message, [text]]


async def test_other_threads_send_plain_json(serve):
    served = serve(settings=PLAIN)
    client = await greeted(served)
    [connection] = Recorder.opened

    def work() -> None:
        connection.send({"n": 1})
        served.router.broadcast({"n": 2})
        connection.send("last")

    await asyncio.to_thread(work)
    assert await received(client) == ['{"n": 1}', '{"n": 2}']


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_post_that_is_marked_as_json_and_is_none_is_a_bad_request(serve, transport):
    served = serve(settings=PLAIN)
    session_id = await served.start(transport)
    response = await served.post_data(session_id, frame("{") + json_frame("{"), transport)
    assert (response.status, response.text.startswith("frame 2: bad JSON")) == (400, True)
    await until(lambda: ("message", "{") in Recorder.opened[0].events)


async def test_an_object_that_json_cannot_hold_is_the_callers_error(serve):
    served = serve(settings=PLAIN)
    await open_client(served, "websocket")
    with pytest.raises(tornadio.EncodeError):
        Recorder.opened[0].send({"n": float("nan")})
    with pytest.raises(tornadio.EncodeError):
        served.router.broadcast({"n": threading.Lock()})
