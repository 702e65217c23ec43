"""What `stats()` of a router and a server say, after what has passed over each transport."""

from __future__ import annotations

import ast
import asyncio
import gc
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import tornadio
from tests.clients import (
    HYBI,
    Client,
    SocketClient,
    connect,
    frame,
    greeted,
    open_client,
)
from tests.slow_clients import stop_reading
from tests.support import FORM, HTTP_TRANSPORTS, LARGE, POLLING, Recorder, Served, shut_down, until
from tornadio import proto
from tornadio.closecodes import CLOSED_REASONS
from tornadio.sessions.counters import REFUSED_REASONS
from tornadio.stats import Histogram, TransportStats

VERSIONS = [
    *[("websocket", version, version) for version in HYBI],
    ("websocket", "76", "draft-76"),
    ("websocket", "75", "draft-75"),
    ("flashsocket", "76", "draft-76"),
    *[(transport, "", "") for transport in HTTP_TRANSPORTS],
]
SENT = ("text", "ä€😀", {"json": [1]})


async def client_of(served: Served, transport: str, version: str) -> Client:
    if not version:
        return await greeted(served, transport)
    peer = await connect(served, version, f"/socket.io/{transport}")
    [(_, session_id)] = proto.decode(await peer.receive())
    client = SocketClient(peer, session_id)
    assert await client.receive() == ["welcome"]
    return client


def row_of(served: Served) -> TransportStats:
    [row] = served.router.stats().transports
    return row


@pytest.mark.parametrize(("transport", "version", "label"), VERSIONS)
async def test_what_passes_is_counted_and_stays_counted(serve, transport, version, label):
    served = serve()
    client = await client_of(served, transport, version)
    for message in SENT:
        await client.send(message)
        assert await client.receive() == [message]
    # A list is so many messages, and the loop's iteration one batch.
    served.router.broadcast(["one", "two", ["three"]])
    assert await client.receive() == ["one", "two", "three"]
    sent = sum(len(proto.encode(message).encode()) for message in ("welcome", *SENT, ["one", "two", "three"]))
    received = sum(len(proto.encode(message).encode()) for message in SENT)
    await until(lambda: row_of(served).messages_out == 7)
    row = row_of(served)
    assert (row.transport, row.version, row.connections, row.opened) == (transport, label, 1, 1)
    assert (row.messages_in, row.frames_in) == (3, 3)
    assert (row.messages_out, row.frames_out) == (7, 8)  # the session id
    assert row.bytes_out == sent + len(proto.encode(client.session_id))
    assert received < row.bytes_in < 3 * received + 100
    assert row.queued_bytes == 0
    await client.send("close")
    await until(lambda: not served.router.connections)
    ended = row_of(served)
    assert (ended.connections, ended.opened, ended.messages_in, ended.messages_out) == (0, 1, 4, 7)
    assert ended.bytes_in > row.bytes_in


async def test_what_waits_for_clients_is_told(serve):
    served = serve()
    clients = [await greeted(served, transport) for transport in ("xhr-polling", "xhr-polling", "jsonp-polling")]
    waiting = await served.start_poll(clients[0].session_id)
    Recorder.opened[1].send("x" * 1000)
    Recorder.opened[1].send("x" * 1000)
    Recorder.opened[2].send("y" * 10)
    stats = served.router.stats()
    assert stats.connections == 3
    assert stats.polls_waiting == 1
    assert [(row.transport, row.polls_waiting) for row in stats.transports] == [
        ("xhr-polling", 1),
        ("jsonp-polling", 0),
    ]
    large, small = 2 * len(proto.encode("x" * 1000)), len(proto.encode("y" * 10))
    assert (stats.largest_queue, stats.queued_bytes) == (large, large + small)
    await waiting.aclose()


# -- Refused and closed ------------------------------------------------------------------------------------------


class Chosen(Recorder):
    """Refused, or failed for, as the query says."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        match request.query:
            case "refuse":
                return False
            case "fail":
                raise RuntimeError("as the test asked")
            case "wait":
                return asyncio.sleep(60)
        return super().on_open(request, *args, **kwargs)


POLL = "/socket.io/xhr-polling//1290000000000"
UNKNOWN = "/socket.io/xhr-polling/unknown/1290000000000"
REFUSALS: list[tuple[str, str, str, Mapping[str, str | None], bytes]] = [
    ("application", "GET", f"{POLL}?refuse", {}, b""),
    ("failed", "GET", f"{POLL}?fail", {}, b""),
    ("open_timeout", "GET", f"{POLL}?wait", {}, b""),
    ("host", "GET", POLL, {"Host": "rebound.example"}, b""),
    ("origin", "GET", POLL, {"Origin": "http://elsewhere.example"}, b""),
    ("method", "PUT", POLL, {}, b""),
    ("transport", "GET", "/socket.io/htmlfile//1290000000000", {}, b""),
    ("no_session", "GET", UNKNOWN, {}, b""),
    ("bad_request", "POST", POLL, FORM, b"data=x"),
    ("too_large", "POST", UNKNOWN, {**FORM, "Content-Length": str(1 << 30)}, b""),
    (
        "websocket_version",
        "GET",
        "/socket.io/websocket",
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "99", "Sec-WebSocket-Key": "x"},
        b"",
    ),
]


@pytest.mark.parametrize(("reason", "method", "path", "headers", "body"), REFUSALS)
async def test_a_refused_request_is_counted_by_its_reason(serve, reason, method, path, headers, body):
    settings = {"open_timeout": 0.01, "enabled_protocols": ["websocket", "xhr-polling"], "hosts": ["127.0.0.1"]}
    served = serve(Chosen, settings)
    before = served.router.stats().refused
    assert (await served.request(method, path, headers, body)).status >= 400
    after = served.router.stats().refused
    assert {name: count for name, count in after.items() if count != before[name]} == {reason: 1}
    assert served.router.stats().connections == 0
    assert not any(served.router.stats().closed.values())  # it never was open


async def test_limits_are_told_apart(serve):
    served = serve(settings={"max_sessions": 2, "max_sessions_per_address": 1})
    await greeted(served)
    assert (await served.request("GET", POLL)).status == 429
    forwarded = serve(settings={"max_sessions": 1}, server={"xheaders": True})
    await greeted(forwarded)
    assert (await forwarded.request("GET", POLL, {"X-Real-Ip": "192.0.2.1"})).status == 503
    assert served.router.stats().refused["max_sessions_per_address"] == 1
    assert forwarded.router.stats().refused["max_sessions"] == 1


async def test_a_message_that_failed_is_no_refused_request(serve):
    served = serve()
    client = await greeted(served, "xhr-polling")
    assert (await served.post(client.session_id, "fail")).status == 500
    stats = served.router.stats()
    assert not any(stats.refused.values())
    assert stats.handlers["on_message"].errors == 1
    assert {name: count for name, count in stats.closed.items() if count} == {"failed": 1}


async def close_frame(served: Served, client: Client) -> None:
    """The client's own close frame, which says what the server would."""
    assert isinstance(client, SocketClient)
    await client.peer.wire.send(frame(8, b"\x03\xf0too slow"))


async def app_closes(served: Served, client: Client) -> None:
    Recorder.opened[0].close(4000, "enough")


async def app_floods(served: Served, client: Client) -> None:
    assert isinstance(client, SocketClient)
    stop_reading(client.peer.wire)
    Recorder.opened[0].send(LARGE)


async def bad_frames(served: Served, client: Client) -> None:
    assert isinstance(client, SocketClient)
    await client.peer.send("no frames")


async def too_large(served: Served, client: Client) -> None:
    await client.send("x" * 2000)


async def reset(served: Served, client: Client) -> None:
    await client.leave(reset=True)


async def leave(served: Served, client: Client) -> None:
    await client.leave()


async def fail(served: Served, client: Client) -> None:
    await client.send("fail")


async def stop(served: Served, client: Client) -> None:
    await shut_down(served.server)


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        ("client", close_frame),
        ("client", leave),
        ("application", app_closes),
        ("too_slow", app_floods),
        ("protocol", bad_frames),
        ("too_large", too_large),
        ("broken", reset),
        ("failed", fail),
        ("shutdown", stop),
    ],
)
async def test_an_end_is_counted_by_its_reason(serve, reason, end):
    served = serve(settings={"max_message_size": 1000, "max_send_buffer": 1 << 20})
    client = await greeted(served)
    await end(served, client)
    await until(lambda: not served.router.connections)
    assert {name: count for name, count in served.router.stats().closed.items() if count} == {reason: 1}


@pytest.mark.parametrize(
    ("reason", "transport", "seconds", "returns"),
    [
        ("no_heartbeat", "websocket", 60, True),
        ("no_request", "xhr-polling", 60, True),
        ("no_return", "xhr-polling", 15, False),
    ],
)
async def test_silence_is_counted_as_such(serve, clock, reason, transport, seconds, returns):
    served = serve()
    if returns:
        await (await open_client(served, transport)).send("hello")
    else:
        await served.shake_hands(transport)
    await clock.advance(seconds)
    assert {name: count for name, count in served.router.stats().closed.items() if count} == {reason: 1}


def test_every_reason_of_the_source_is_listed():
    labels = set()
    for path in Path(tornadio.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                labels |= {
                    keyword.value.value
                    for keyword in node.keywords
                    if keyword.arg == "label" and isinstance(keyword.value, ast.Constant)
                }
    labels |= {"bad_request", *vars(tornadio.errors)["_LABELS"].values()}
    assert labels - {""} == set(REFUSED_REASONS)
    assert len(CLOSED_REASONS) == 11


# -- Heartbeats and handlers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "flashsocket", "htmlfile"])
async def test_the_round_trip_of_a_heartbeat_is_measured(serve, clock, transport):
    served = serve()
    client = await greeted(served, transport)
    await clock.advance(12)
    assert await client.receive() == ["~h~1"]
    await clock.advance(0.3)
    for number in (7, 1, 1):  # never sent; the first echo; once more
        await client.echo(number)
    if isinstance(client, SocketClient):
        await served.barrier()
    stats = served.router.stats()
    assert (stats.heartbeats_sent, stats.heartbeats_answered) == (1, 1)
    assert (stats.round_trips.count, stats.round_trips.sum) == (1, pytest.approx(0.3))
    [row] = stats.transports
    assert (row.messages_in, row.frames_in, row.messages_out, row.frames_out) == (0, 3, 1, 3)


class Handlers(tornadio.SocketConnection):
    """`on_message` takes as long as the message says, awaiting or not."""

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0.002)

    def on_message(self, message: Any) -> Any:
        match message:
            case ["block", float(seconds)]:
                time.sleep(seconds)
            case ["await", float(seconds)]:
                return asyncio.sleep(seconds)
            case ["future", float(seconds)]:
                return asyncio.ensure_future(asyncio.sleep(seconds))
            case "fail":
                raise RuntimeError("as the test asked")
        self.send(message)
        return None

    def on_close(self) -> None:
        raise RuntimeError("as the test asked")


async def test_the_calls_of_handlers_are_timed(serve):
    served = serve(Handlers)
    client = await open_client(served, "websocket")
    for message in ("fast", ("block", 0.02), ("await", 0.12), ("future", 0.3), "fast", "fast"):
        await client.send(message)
    heard: list[Any] = []
    while len(heard) < 4:
        heard += await client.receive()
    await client.send("fail")
    await until(lambda: served.router.stats().handlers["on_close"].errors == 1)
    handlers = served.router.stats().handlers
    seconds = handlers["on_message"].seconds
    assert (seconds.count, handlers["on_message"].errors) == (7, 1)
    slow = {bound: count for bound, count in zip(seconds.bounds, seconds.counts, strict=False) if bound >= 0.025}
    assert slow[0.025] + slow[0.05] + slow[0.1] >= 1
    assert sum(slow.values()) + seconds.counts[-1] >= 3
    assert 0.44 < seconds.sum < 10
    assert (handlers["on_open"].seconds.count, handlers["on_open"].errors) == (1, 0)
    assert handlers["on_open"].seconds.sum >= 0.002
    assert handlers["on_close"].seconds.count == 1
    assert handlers["greeting"].seconds.count == 0


# -- The server --------------------------------------------------------------------------------------------------


class Page(tornadio.HealthHandler):
    """Something that is no transport's."""


async def test_requests_are_counted_by_who_has_read_them(serve):
    served = serve(handlers=[("/page", Page)])

    async def ask(*requests: tuple[str, Mapping[str, str | None], bytes]) -> None:
        wire = await served.connect()
        for path, headers, body in requests:
            await wire.send_request("POST" if body else "GET", path, headers, body)
            await wire.read_response()

    await ask((UNKNOWN, {}, b""), (UNKNOWN, {}, b""))
    await ask(("/page", {}, b""), ("/page", {}, b""))
    await ask((UNKNOWN, {"Expect": "nothing", "Connection": "close"}, b""))
    await ask((UNKNOWN, FORM, b"data=" + b"x" * (1 << 15)))
    stats = served.server.stats()
    assert stats.fast_requests == 2
    assert stats.tornado_requests == {"other_handler": 1, "kept": 1, "not_simple": 1, "too_large": 1}
    slow = serve(server={"fast_path": False})
    await slow.request("GET", UNKNOWN)
    assert slow.server.stats().tornado_requests == {"disabled": 1}


async def test_over_tls_tornado_reads_each_request(serve):
    from tests.tls import Certificate, OverTls  # here: it loads cryptography, which the other tests need not wait for

    certificate = Certificate()
    served = serve(server={"ssl_options": certificate.server})
    over_tls = OverTls(served.server, served.router, served.wires, certificate)
    await over_tls.request("GET", UNKNOWN)
    stats = served.server.stats()
    assert (stats.fast_requests, stats.tornado_requests) == (0, {"tls": 1})


async def test_the_lag_of_the_event_loop_is_measured_until_the_server_stops(serve, clock):
    served = serve()
    await clock.advance(3)
    lag = served.server.stats().loop_lag
    assert (lag.count, lag.sum) == (3, 0)
    await shut_down(served.server)
    await clock.advance(3)
    assert served.server.stats().loop_lag == lag
    assert served.server.stats().is_draining


async def test_a_handler_that_blocks_shows_as_lag(serve):
    served = serve(Handlers)
    client = await open_client(served, "websocket")
    for _ in range(8):
        await client.send(("block", 0.25))
    await until(lambda: served.server.stats().loop_lag.count)
    await until(lambda: served.server.stats().loop_lag.sum > 0.01)


async def test_descriptors_are_counted(serve):
    served = serve()
    gc.collect()  # else what tests before have left may be closed meanwhile
    before = served.server.stats()
    assert before.open_descriptors is not None
    assert before.max_descriptors is not None
    for _ in range(5):
        await greeted(served)
    after = served.server.stats()
    assert after.open_descriptors == before.open_descriptors + 10
    assert after.max_descriptors == before.max_descriptors
    assert after.refused_connections == 0


async def test_figures_are_asked_for_from_any_thread(serve):
    served = serve()
    asked = [await greeted(served, transport) for transport in ("websocket", *POLLING)]
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(served.server.stats().routers[0].connections))
    thread.start()
    thread.join()
    assert found == [len(asked)]


# -- Histograms --------------------------------------------------------------------------------------------------


def test_a_quantile_is_estimated_within_its_bucket():
    histogram = Histogram((1.0, 2.0, 4.0), (2, 0, 2, 0), 8.0)
    assert (histogram.count, histogram.mean) == (4, 2.0)
    assert [histogram.quantile(share) for share in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.5, 1, 3, 4]
    assert Histogram((1.0,), (0, 3), 9.0).quantile(0.5) == 1.0
    assert Histogram((1.0,), (0, 0), 0.0).quantile(0.5) == Histogram((1.0,), (0, 0), 0.0).mean == 0


def test_what_came_since_is_the_difference():
    earlier, later = Histogram((1.0,), (1, 0), 0.5), Histogram((1.0,), (3, 1), 4.0)
    assert later.since(earlier) == Histogram((1.0,), (2, 1), 3.5)
