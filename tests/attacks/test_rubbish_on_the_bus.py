"""Whoever may write to the bus can send rubbish to everybody, but hang up on nobody: a message is checked whole before
any connection gets a byte of it.

A browser that is sent JSON which is none takes the connection for broken. Sent over the bus, one such message ended the
connections of all processes at once, which all came back at once.
"""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from tests.clients import greeted, received
from tests.redis_fixtures import RedisServer
from tests.support import Recorder, brief
from tests.texts import NO_JSON, json_frame
from tornadio import proto
from tornadio.cluster.bus import pack
from tornadio.settings import PROTOCOLS

CHANNEL = "tornadio:socket.io"

RUBBISH = [
    *(pack("somebody", proto.encode("before it") + json_frame(text) + proto.encode("behind it")) for text in NO_JSON),
    *(pack("somebody", proto.encode("before it") + proto.encode_heartbeat(number)) for number in (0, 1, 10**9)),
    pack("somebody", proto.encode("before it") + "~m~3~m~x"),
    b"\xff",
    b"",
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda data: brief(data[-40:]))
async def test_rubbish_reaches_no_connection_of_any_process_and_is_one_line_in_each(
    serve, redis_server: RedisServer, caplog, rubbish
):
    routers = [serve(settings={"bus": redis_server.url}) for _ in range(2)]
    await redis_server.wait_for_subscribers(CHANNEL, 2)
    clients = [await greeted(served, transport) for served in routers for transport in PROTOCOLS]
    await redis_server.tell("PUBLISH", CHANNEL, rubbish)
    await redis_server.tell("PUBLISH", CHANNEL, pack("somebody", proto.encode([{"é": "😀"}, "last"])))
    assert await asyncio.gather(*map(received, clients)) == [[{"é": "😀"}]] * len(clients)
    assert [connection.is_closed for connection in Recorder.opened] == [False] * len(clients)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == len(routers)
    assert all(warning.startswith("what came from the bus on socket.io is no message: ") for warning in warnings)
    assert all(len(warning) < 500 for warning in warnings)


@pytest.mark.parametrize("text", ['{"a": "\\ud83d"}', "1e308", '"</script>"', "[" * 200 + "]" * 200, "  [ 1 , 2 ]  "])
async def test_whatever_a_browser_reads_is_delivered_as_it_is(serve, redis_server: RedisServer, caplog, text):
    served = serve(settings={"bus": redis_server.url})
    await redis_server.wait_for_subscribers(CHANNEL, 1)
    session_id, _ = await served.open()
    frames = json_frame(text)
    await redis_server.tell("PUBLISH", CHANNEL, json.dumps({"v": 1, "from": "somebody", "frames": frames}))
    assert (await served.poll(session_id)).text == frames
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
