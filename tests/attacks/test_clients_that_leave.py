"""Clients that leave while a handler is at work, or an answer is waited for: their descriptors come free at once.

Nothing is read then, so a server that looks for a client's end behind what it has sent, finds it when the handler is
done. Some hundred clients that send two messages and reset the connection would hold all descriptors of a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.appserver import AppServer
from tests.clients import HixiePeer, HybiPeer, Peer, connect, exchange, frame, greeted, open_client
from tests.internals import sessions_of
from tests.support import POLLING, STREAMING, ClientStream, Elsewhere, Recorder, Response, payload_of, until
from tests.tls import Certificate, ElsewhereOverTls
from tornadio import proto

APP = Path(__file__).with_name("slow_app.py")

DESCRIPTORS = 256
CLIENTS = 300

VERSIONS = ("13", "76")


class Busy(Recorder):
    """Its handlers are at work until the test says so."""

    go_on: asyncio.Event

    async def on_message(self, message: Any) -> None:
        self.events.append(("message", message))
        if message == "work":
            await self.go_on.wait()
            self.events.append(("handled", message))
        self.send(message)


class SlowToOpen(Recorder):
    """Its `on_open` is at work until the test says so."""

    go_on: asyncio.Event

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        await self.go_on.wait()


@pytest.fixture
async def go_on() -> asyncio.Event:
    SlowToOpen.go_on = Busy.go_on = asyncio.Event()
    return Busy.go_on


def end_sending(wire: ClientStream) -> None:
    """Send a FIN, without a word of TLS; what comes back can still be read."""
    wire.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def resets(peer: Peer) -> None:
    peer.wire.reset()


async def finishes(peer: Peer) -> None:
    end_sending(peer.wire)


async def closes_and_finishes(peer: Peer) -> None:
    await peer.close()
    end_sending(peer.wire)


async def pings_and_finishes(peer: Peer) -> None:
    await peer.wire.send(b"\x80\x05xxxxx" if isinstance(peer, HixiePeer) else frame(9, b"x"))
    end_sending(peer.wire)


async def breaks_off_and_finishes(peer: Peer) -> None:
    await peer.wire.send(b"\x00~m~1" if isinstance(peer, HixiePeer) else frame(1, b"~m~1~m~x")[:-1])
    end_sending(peer.wire)


LEAVING = (resets, finishes, closes_and_finishes, pings_and_finishes, breaks_off_and_finishes)

every_version = pytest.mark.parametrize("version", VERSIONS)
every_leaving = pytest.mark.parametrize("leave", LEAVING, ids=lambda leave: leave.__name__)


# -- WebSockets --------------------------------------------------------------------------------------------------------


@every_version
@every_leaving
async def test_who_leaves_during_on_message_is_gone_at_once(site, go_on, version, leave):
    served = site(Busy)
    await greeted(served)  # whoever stays, stays
    before = open_descriptors()
    peer = await connect(served, version)
    await peer.send(proto.encode("work"))
    recorder = await at_work(("message", "work"))
    await leave(peer)
    await until(lambda: recorder.is_closed)
    await freed(peer.wire, before)
    assert recorder.events == [("open", ""), ("message", "work")]
    go_on.set()
    await recorder.wait_closed()
    assert recorder.events[2:] == [("handled", "work"), ("close",)]
    assert len(served.router.connections) == 1


@every_version
@every_leaving
async def test_who_leaves_during_on_open_is_gone_at_once(site, go_on, version, leave):
    served = site(SlowToOpen)
    before = open_descriptors()
    peer = await connect(served, version)
    recorder = await at_work(("open", ""))
    await leave(peer)
    await until(lambda: recorder.is_closed)
    await freed(peer.wire, before)
    go_on.set()
    await recorder.wait_closed()
    assert recorder.events == [("open", ""), ("close",)]


async def at_work(event: tuple[Any, ...]) -> Recorder:
    """The connection whose handler has begun."""
    await until(lambda: Recorder.opened and Recorder.opened[-1].events[-1] == event)
    recorder: Recorder = Recorder.opened[-1]
    return recorder


async def freed(wire: ClientStream, descriptors: int) -> None:
    """Wait until the server has closed a connection, and with it the descriptor."""
    await wire.read_to_end()
    wire.writer.transport.abort()
    await until(lambda: open_descriptors() <= descriptors + 1)  # what watches hangups, once for all


@every_version
@pytest.mark.parametrize("closes", [False, True], ids=["FIN", "close frame"])
async def test_what_came_before_is_handled_in_order_although_the_client_has_gone(site, go_on, version, closes):
    served = site(Busy)
    peer = await connect(served, version)
    await peer.send(proto.encode("work"), proto.encode("one"))
    recorder = await at_work(("message", "work"))
    await peer.send(proto.encode("two"), proto.encode(["three", "four"]))
    await (closes_and_finishes if closes else finishes)(peer)
    await peer.wire.read_to_end()
    await until(lambda: recorder.is_closed)
    go_on.set()
    await recorder.wait_closed()
    assert recorder.events[1:] == [
        *(("message", "work"), ("handled", "work")),
        *(("message", message) for message in ("one", "two", "three", "four")),
        ("close",),
    ]


class Asking(Recorder):
    """Its handler is at work as long as its client is there, and keeps why that is so no more."""

    async def on_message(self, message: Any) -> None:
        self.events.append(("message", message))
        while message == "work" and not self.is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self.events.append((self.close_code, message))


async def closes(peer: Peer) -> None:
    """Send a closing frame, and wait for the reply with TCP open, as the `close()` of a browser does."""
    await peer.close()


@every_version
@pytest.mark.parametrize("behind", [0, 1, 200])
@pytest.mark.parametrize("leave", [*LEAVING, closes], ids=lambda leave: leave.__name__)
async def test_a_handler_that_asks_ends_although_messages_wait_behind_it(site, version, behind, leave):
    served = site(Asking)
    peer = await connect(served, version)
    await peer.send(*map(proto.encode, ["work", *range(behind)]))
    recorder = await at_work(("message", "work"))
    await leave(peer)
    await recorder.wait_closed()
    messages = [content for kind, *rest in recorder.events if kind == "message" for content in rest]
    assert messages == ["work", *range(behind)]
    assert {event[0] for event in recorder.events} == {"open", "message", recorder.close_code, "close"}


@every_version
async def test_a_closing_frame_behind_what_came_later_is_seen_during_a_handler(site, version):
    served = site(Asking)
    peer = await connect(served, version)
    await peer.send(proto.encode("work"))
    recorder = await at_work(("message", "work"))
    for number in range(20):
        await peer.send(proto.encode(number))
        await served.barrier()
    assert not recorder.is_closed
    await closes(peer)
    await recorder.wait_closed()
    assert [event[1] for event in recorder.events if event[0] == "message"] == ["work", *range(20)]
    await peer.ended()


async def test_a_ping_is_answered_during_a_handler(site, go_on):
    served = site(Busy)
    peer = await connect(served)
    assert isinstance(peer, HybiPeer)
    await peer.receive()
    assert await peer.receive() == proto.encode("welcome")
    await peer.send(proto.encode("work"))
    await at_work(("message", "work"))
    await peer.wire.send(frame(9, b"are you there"))
    pong = await peer.next_frame()
    assert (pong.opcode, bytes(pong.data)) == (10, b"are you there")


@every_version
async def test_what_comes_during_a_handler_is_read_within_a_limit(site, go_on, version):
    served = site(Busy)
    peer = await connect(served, version)
    await peer.send(proto.encode("work"))
    recorder = await at_work(("message", "work"))
    messages = [f"{number:1000}" for number in range(10_000)]
    sending = asyncio.create_task(peer.send(*map(proto.encode, messages)))
    await served.barrier()
    [session] = sessions_of(served.router)
    assert session.bytes_in < 3 << 16
    go_on.set()
    while len(recorder.events) < len(messages) + 3:
        await peer.receive()
    await sending
    assert [event[1] for event in recorder.events[3:]] == messages


class Mixed(Busy):
    """Its handler is a coroutine for "work" alone."""

    def on_message(self, message: Any) -> Any:
        return super().on_message(message) if message == "work" else self.events.append(("message", message))


async def test_what_came_during_handlers_that_have_ended_is_no_reason_to_stop_reading(site, go_on):
    served = site(Mixed)
    peer = await connect(served)
    assert isinstance(peer, HybiPeer)
    await peer.receive()
    assert await peer.receive() == proto.encode("welcome")
    recorder = Recorder.opened[-1]
    for _ in range(3):
        await peer.send(proto.encode("work"))
        await at_work(("message", "work"))
        await peer.send(proto.encode("x" * 30_000))
        await peer.wire.send(frame(9, b"are you there"))
        assert (await peer.next_frame()).opcode == 10
        go_on.set()
        assert await peer.receive() == proto.encode("work")
        await until(lambda: recorder.events[-1] == ("message", "x" * 30_000))
        go_on.clear()


@every_version
async def test_what_came_before_a_reset_is_handled_although_answers_break(site, go_on, version):
    served = site(Busy)
    peer = await connect(served, version)
    await peer.send(*map(proto.encode, ["work", "one", "two", "three"]))
    recorder = await at_work(("message", "work"))
    [session] = sessions_of(served.router)
    await until(lambda: session.bytes_in > len("workonetwothree") + 4 * len("~m~3~m~"))
    peer.wire.reset()
    await until(lambda: recorder.is_closed)
    go_on.set()
    await recorder.wait_closed()
    assert [event[1] for event in recorder.events if event[0] == "message"] == ["work", "one", "two", "three"]


class Producer(Busy):
    """Its answer to "work" is 30 MB, at the pace of its client."""

    async def on_message(self, message: Any) -> None:
        self.events.append(("message", message))
        await self.go_on.wait()
        for _ in range(30 if message == "work" else 0):
            self.send("x" * 1_000_000)
            await self.drain()


@every_version
async def test_a_client_that_has_closed_and_still_reads_is_sent_what_it_has_asked_for(site, go_on, version):
    served = site(Producer)
    peer = await connect(served, version)
    await peer.send(*map(proto.encode, ["work", "one"]))
    recorder = await at_work(("message", "work"))
    await closes(peer)
    await until(lambda: recorder.is_closed)
    go_on.set()
    received = 0
    while (data := await peer.wire.reader.read(1 << 16)) != b"":
        received += len(data)
    await recorder.wait_closed()
    assert received > 30_000_000
    assert recorder.events[1:] == [("message", "work"), ("message", "one"), ("close",)]
    assert recorder.close_code == (1005 if version == "76" else 1000)


class Echo(Busy):
    """Answers each message, in turns of its own."""

    async def on_message(self, message):
        self.events.append(("message", message))
        await asyncio.sleep(0)
        self.send(message)


@every_version
async def test_what_is_answered_meanwhile_is_no_reason_to_drop_what_came_before(site, version):
    served = site(Echo)
    peer = await connect(served, version)
    messages = [f"number {number}" for number in range(30)]
    await peer.send(*map(proto.encode, messages))
    await finishes(peer)
    await peer.wire.read_to_end()
    recorder = Recorder.opened[0]
    await recorder.wait_closed()
    assert recorder.events[1:] == [*(("message", message) for message in messages), ("close",)]


async def test_what_came_together_is_handled_together_although_the_client_has_gone(site, go_on):
    served = site(Busy)
    peer = await connect(served)
    await peer.send(proto.encode(["work", "one"]))
    recorder = await at_work(("message", "work"))
    end_sending(peer.wire)
    await peer.wire.read_to_end()
    go_on.set()
    await recorder.wait_closed()
    assert recorder.events[1:] == [("message", "work"), ("handled", "work"), ("message", "one"), ("close",)]


@every_version
async def test_a_reset_behind_messages_frees_the_descriptor_at_once(site, go_on, version):
    served = site(Busy)
    before = open_descriptors()
    peer = await connect(served, version)
    await peer.send(proto.encode("work"))
    recorder = await at_work(("message", "work"))
    await peer.send(proto.encode("more"))
    peer.wire.reset()
    await freed(peer.wire, before)
    go_on.set()
    await recorder.wait_closed()
    # OpenSSL may take the reset for an end like any other.
    assert recorder.events[2:] in (
        [("handled", "work"), ("close",)],
        [("handled", "work"), ("message", "more"), ("close",)],
    )


@every_version
async def test_what_came_during_on_open_is_handled_although_the_client_has_gone(site, go_on, version):
    served = site(SlowToOpen)
    peer = await connect(served, version)
    recorder = await at_work(("open", ""))
    await peer.send(proto.encode("one"), proto.encode("two"))
    end_sending(peer.wire)
    await peer.wire.read_to_end()
    await until(lambda: recorder.is_closed)
    go_on.set()
    await recorder.wait_closed()
    assert recorder.events == [("open", ""), ("message", "one"), ("message", "two"), ("close",)]


async def test_what_was_wrong_behind_the_last_messages_changes_nothing(site, go_on):
    served = site(Busy)
    peer = await connect(served)
    await peer.send(proto.encode("work"))
    recorder = await at_work(("message", "work"))
    await peer.send(proto.encode("one"), "nonsense", proto.encode("two"))
    end_sending(peer.wire)
    await peer.wire.read_to_end()
    go_on.set()
    await recorder.wait_closed()
    assert recorder.events[3:] == [("message", "one"), ("close",)]


async def test_who_stays_is_not_taken_for_gone(site, go_on):
    served = site(Busy)
    client = await greeted(served)
    for number in range(5):
        go_on.clear()
        await client.send("work")
        recorder = await at_work(("message", "work"))
        await client.send(f"number {number}")
        await served.barrier()
        go_on.set()
        assert [*await client.receive(), *await client.receive()] == ["work", f"number {number}"]
        assert not recorder.is_closed
    await client.leave()
    await recorder.wait_closed()


# -- Requests ----------------------------------------------------------------------------------------------------------

behind = pytest.mark.parametrize("behind", [b"", b"G"], ids=["", "with a byte behind"])


@pytest.mark.parametrize("transport", POLLING)
@behind
async def test_the_message_for_a_poll_whose_client_has_gone_goes_to_the_next(site, transport, behind):
    served = site(Recorder)
    session_id, _ = await served.open(transport)
    wire = await served.start_poll(session_id, transport)
    await wire.send(behind)
    await served.barrier()
    end_sending(wire)
    Recorder.opened[0].send("news")
    response: Response = await served.poll(session_id, transport)
    assert payload_of(response, transport) == proto.encode("news")
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize("transport", POLLING)
@behind
async def test_the_descriptor_of_a_poll_whose_client_has_gone_is_free_at_once(site, transport, behind):
    served = site(Recorder)
    session_id, _ = await served.open(transport)
    wire = await served.start_poll(session_id, transport)
    await wire.send(behind)
    await served.barrier()
    end_sending(wire)
    assert await wire.read_to_end() == b""
    Recorder.opened[0].send("news")
    assert payload_of(await served.poll(session_id, transport), transport) == proto.encode("news")


@pytest.mark.parametrize("transport", POLLING)
@behind
async def test_polls_one_after_the_other_on_a_connection_are_answered(site, transport, behind):
    served = site(Recorder)
    session_id, _ = await served.open(transport)
    wire = await served.connect()
    index = "/0" if transport == "jsonp-polling" else ""
    path = f"/socket.io/{transport}/{session_id}/1290000000000{index}"
    poll = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: same-origin\r\n\r\n".encode()
    await wire.send(poll + behind)
    for number in range(5):
        await served.barrier()
        Recorder.opened[0].send(number)
        assert payload_of(await wire.read_response(), transport) == proto.encode(number)
        await wire.send(poll[len(behind) :] + behind)
    end_sending(wire)
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize("transport", STREAMING)
@behind
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_who_leaves_during_the_on_open_of_a_stream_is_gone_at_once(site, go_on, transport, behind, reset):
    served = site(SlowToOpen)
    before = open_descriptors()
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/{transport}//1290000000000")
    await wire.send(behind)
    recorder = await at_work(("open", ""))
    await served.barrier()
    if reset:
        wire.reset()
    else:
        end_sending(wire)
    await until(lambda: recorder.is_closed)
    await freed(wire, before)
    go_on.set()
    await recorder.wait_closed()
    assert recorder.events == [("open", ""), ("close",)]


@pytest.mark.parametrize("transport", [*STREAMING, *POLLING])
@behind
async def test_the_descriptor_of_a_post_whose_client_has_gone_is_free_at_once(site, go_on, transport, behind):
    served = site(Busy)
    session_id = await served.start(transport)
    wire = await served.connect()
    body = b"data=" + proto.encode("work").encode()
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    await wire.send_request("POST", f"/socket.io/{transport}/{session_id}/send", form, body)
    recorder = await at_work(("message", "work"))
    await wire.send(behind)
    await served.barrier()
    end_sending(wire)
    assert await wire.read_to_end() == b""
    go_on.set()
    await until(lambda: recorder.events[-1] == ("handled", "work"))
    assert not recorder.is_closed


# -- All descriptors ---------------------------------------------------------------------------------------------------


@pytest.mark.external
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_hundreds_that_reset_during_a_handler_leave_the_descriptors_to_others(tmp_path, encrypted):
    certificate = Certificate()
    arguments: tuple[str, ...] = ()
    if encrypted:
        certificate.write(tmp_path / "certificate.pem")
        arguments = (f"--certificate={tmp_path / 'certificate.pem'}",)
    limited = ("bash", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" "$@"', sys.executable)
    server = AppServer(APP, arguments, tmp_path / "output.txt", limited)
    server.start()
    try:
        served = ElsewhereOverTls.at(server, certificate) if encrypted else Elsewhere.of(server)
        async with contextlib.aclosing(served):
            before = (await served.read_json("/report"))["descriptors"]
            for _ in range(CLIENTS):
                client = await open_client(served, "websocket")
                await client.send("work")
                await client.send("more")
                await client.leave(reset=True)
            # Such a client may have gone before the server knew what it wants.
            await exchange(await open_client(served, "websocket"), "hello")
            assert (await served.read_json("/report"))["descriptors"] < before + 32
    finally:
        server.kill()
