"""What is given to send: it is sent, in order, or reported; and who sends too fast has to wait."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable
from typing import Any
from urllib.parse import unquote

import pytest

import tornadio
from tests.peers import Request, http_peer, read_request, read_to_close, response, tcp_peer, upgrade
from tests.support import Serve, limit, until
from tornadio import ConnectionClosed, EncodeError, proto

LARGE = "x" * 20_000


class UnreadingPeer:
    """A WebSocket server that reads nothing until it is told to: then everything, to the end."""

    def __init__(self) -> None:
        self.may_read = asyncio.Event()
        self.received: asyncio.Future[list[str | bytes]] = asyncio.get_running_loop().create_future()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        await self.may_read.wait()
        self.received.set_result(await read_to_close(reader))

    async def messages(self) -> list[Any]:
        """The messages that it was sent; a frame that was cut is none."""
        self.may_read.set()
        return [message for payload in await self.received for _, message in proto.decode(str(payload))]


async def test_what_the_kernel_has_not_accepted_is_reported(serve: Serve):
    """To the message: of one that was accepted in part no server can make anything."""
    peer = UnreadingPeer()
    async with tcp_peer(peer.handle) as server, limit():
        client = await tornadio.connect(server.url, transports=["websocket"])
        given = [f"{number} {LARGE}" for number in range(1000)]
        for message in given:
            await client.send(message)
        assert 0 < len(client.unsent) < len(given)
        with contextlib.suppress(ZeroDivisionError):
            async with client:
                raise ZeroDivisionError
        unsent = client.unsent
        assert await peer.messages() == given[: len(given) - len(unsent)]
        assert list(unsent) == given[len(given) - len(unsent) :]
        with pytest.raises(ConnectionClosed, match=rf"\({len(unsent)} messages were not sent\)") as raised:
            await client.send("late")
        assert raised.value.unsent == unsent


async def test_close_sends_what_waits(serve: Serve):
    peer = UnreadingPeer()
    async with tcp_peer(peer.handle) as server, limit():
        async with tornadio.connect(server.url, transports=["websocket"]) as client:
            given = [f"{number} {LARGE}" for number in range(1000)]
            for message in given:
                await client.send(message)
            peer.may_read.set()
            await client.flush()
            assert client.unsent == ()
            await client.send("last")
        assert await peer.messages() == [*given, "last"]
        assert client.close_code == 1000  # that the server has sent no close frame is of no importance any more


async def test_send_waits_while_too_much_waits_and_sends_nothing_if_it_is_cancelled():
    peer = UnreadingPeer()
    async with tcp_peer(peer.handle) as server, limit():
        client = await tornadio.connect(server.url, transports=["websocket"], max_send_buffer=1_000_000)
        given = 0

        async def send_all() -> None:
            nonlocal given
            while True:
                await client.send(f"{given} {LARGE}")
                given += 1

        sending = asyncio.ensure_future(send_all())
        await until(lambda: len(client.unsent) * len(LARGE) > 980_000)
        later = [asyncio.ensure_future(client.send(f"later {number}")) for number in range(3)]
        for _ in range(10):
            await asyncio.sleep(0)
        sent = given
        sending.cancel()
        later[1].cancel()
        await asyncio.wait([sending, later[1]])
        assert given == sent
        assert abs(sum(len(message) for message in client.unsent) - 1_000_000) < 30_000
        peer.may_read.set()
        await asyncio.gather(later[0], later[2])
        await client.close()
        messages = await peer.messages()
        assert messages[sent:] == ["later 0", "later 2"]
        assert [message.split()[0] for message in messages[:sent]] == [str(number) for number in range(sent)]


async def test_flush_fails_when_the_connection_ends_before():
    peer = UnreadingPeer()
    async with tcp_peer(peer.handle) as server, limit():
        client = await tornadio.connect(server.url, transports=["websocket"], close_timeout=0.1)
        for number in range(1000):
            await client.send(f"{number} {LARGE}")
        flushing = [asyncio.ensure_future(client.flush()) for _ in range(2)]
        await client.close(4001)
        for flush in flushing:
            with pytest.raises(ConnectionClosed, match="code 4001"):
                await flush
        assert client.unsent


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
async def test_a_message_that_has_no_form_is_an_error_and_the_connection_stays_open(serve: Serve, transport):
    async with limit(), tornadio.connect(f"ws://127.0.0.1:{serve().port}/socket.io", transports=[transport]) as client:
        for message in (b"\xff", float("nan"), object()):
            with pytest.raises(EncodeError):
                await client.send(message)
        with pytest.raises(EncodeError, match="surrogate"):
            await client.send_raw("\ud800")
        await client.send(None)
        await client.send([])
        await client.send(["one", ["two"], {"three": 3}])
        await client.send_raw("~m~1~m~4~m~1~m~5")
        assert [await client.recv() for _ in range(6)] == ["welcome", "one", "two", {"three": 3}, "4", "5"]


# -- POSTs -----------------------------------------------------------------------------------------------------------


class PollingPeer:
    """A server of xhr-polling whose responses to POSTs the test gives; a GET waits until it is let go."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = [*answers]
        self.posts: list[str] = []
        self.posted = asyncio.Event()
        self.go = asyncio.Event()
        self.next_poll = response("401 Unauthorized", "it has ended")

    def respond(self, request: Request) -> bytes | Awaitable[bytes] | None:
        if request.method == "POST":
            self.posted.set()
            self.posts.append(unquote(request.body.removeprefix("data=")))
            return self.answers.pop(0)
        if "/id/" in request.path:
            return self._poll()
        return response("200 OK", "~m~2~m~id")

    async def _poll(self) -> bytes:
        await self.go.wait()
        return self.next_poll


async def test_messages_that_were_given_meanwhile_go_in_one_post():
    peer = PollingPeer(*[response("200 OK", "ok")] * 4)
    async with http_peer(peer.respond) as server, limit():
        async with tornadio.connect(server.url, transports=["xhr-polling"]) as client:
            await client.send("a")
            await client.send("é&+%😀")
            await asyncio.sleep(0)  # the first POST is made
            for message in ("b", "c", "d" * 70_000, "e"):
                await client.send(message)
            await client.flush()
            assert client.unsent == ()
        posts = [[message[:9] for _, message in proto.decode(post)] for post in peer.posts]
        assert posts == [["a", "é&+%😀"], ["b", "c"], ["d" * 9], ["e"]]
        content_types = {each.headers["content-type"] for each in server.requests if each.method == "POST"}
        assert content_types == {"application/x-www-form-urlencoded; charset=utf-8"}


async def test_a_jsonp_post_goes_where_the_official_server_expects_it():
    """It looks for the function's index at the end of each path, and falls over without it."""

    def respond(request: Request) -> bytes:
        if request.method == "POST":
            return response("200 OK", "ok")
        if len(server.requests) == 1:
            return response("200 OK", 'io.JSONP[0]._("~m~2~m~id");')
        return response("401 Unauthorized")

    async with http_peer(respond) as server, limit():
        async with tornadio.connect(server.url, transports=["jsonp-polling"]) as client:
            await client.send("hello")
            await client.flush()
        paths = {f"{each.method} {re.sub('[0-9]{13}', 'TIME', each.path)}" for each in server.requests}
    base = "/socket.io/jsonp-polling"
    assert paths >= {f"GET {base}//TIME/0", f"POST {base}/id/TIME/0"}


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (response("401 Unauthorized", "it has ended"), 1005, "a POST was answered 401 Unauthorized: it has ended"),
        (response("413 Too Large", "too much"), 1009, "a POST was answered 413 Too Large: too much"),
        (response("500 Oh", "the application failed"), 1011, "a POST was answered 500 Oh: the application failed"),
        (None, 1006, "a POST failed: the server closed the connection before the response was whole"),
    ],
)
async def test_messages_of_a_post_that_was_not_answered_200_are_reported(answer, code, reason):
    """What the server sent before it ended the session is received first."""
    peer = PollingPeer(response("200 OK", "ok"), answer)
    async with http_peer(peer.respond) as server, limit():
        async with tornadio.connect(server.url, transports=["xhr-polling"]) as client:
            await client.send("sent")
            await client.flush()
            peer.posted.clear()
            for message in ("first", "second"):
                await client.send(message)
            await peer.posted.wait()
            await client.send("third")
            peer.next_poll = response("200 OK", "~m~8~m~farewell")
            peer.go.set()
            assert await client.recv() == "farewell"
            peer.next_poll = response("401 Unauthorized", "it has ended")
            await client.wait_closed()
            with pytest.raises(ConnectionClosed) as raised:
                await client.send("fourth")
            assert (client.close_code, client.close_reason) == (code, reason)
            assert raised.value.unsent == client.unsent == ("first", "second", "third")
            with pytest.raises(ConnectionClosed):
                await client.flush()
        assert peer.answers == []  # no POST was made twice


async def test_a_kept_connection_that_the_server_has_closed_is_not_used_again(serve: Serve):
    """Else a POST that met its end would be reported as unsent, although nothing is wrong."""
    peer = PollingPeer(response("200 OK", "ok"), response("200 OK", "ok"))
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        assert request is not None
        answer = peer.respond(request)
        assert answer is not None
        writer.write(answer if isinstance(answer, bytes) else await answer)
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with tcp_peer(handle) as server, limit():
        async with tornadio.connect(server.url, transports=["xhr-polling"]) as client:
            for message in ("one", "two"):
                closed.clear()
                await client.send(message)
                await client.flush()
                await closed.wait()
        assert peer.posts == ["~m~3~m~one", "~m~3~m~two"]
