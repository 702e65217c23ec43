"""POSTs whose clients have gone while a handler is at work: the POST's own connection is watched, so that the session
expires as if there were no POST, and a handler that asks `is_closed` ends.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.internals import sessions_of
from tests.support import FORM, LARGE, POLLING, ClientStream, MovedLoop, Recorder, Serve, Served, until
from tornadio import proto

EXPIRY = 10.0
SETTINGS = {"session_expiry": EXPIRY, "session_check_interval": 1, "xhr_polling_timeout": 600}

Leaving = Callable[[ClientStream], Awaitable[None]]
Posting = Callable[[Served, str, str, str], Awaitable[None]]


# -- Handlers ----------------------------------------------------------------------------------------------------------


class Staying(Recorder):
    """Its handler is at work as long as its client is there."""

    async def on_message(self, message: Any) -> None:
        self.events.append(("message", message))
        while not self.is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        self.events.append(("ends", message))


class Producing(Recorder):
    """Its handler sends as much as its client takes."""

    async def on_message(self, message: Any) -> None:
        self.events.append(("message", message))
        while not self.is_closed:
            self.send(LARGE)
            await self.drain()
        self.events.append(("ends", message))


class Quick(Recorder):
    """Its handler is a plain function, and leaves the work to a task."""

    def on_message(self, message: Any) -> None:
        self.events.append(("message", message))
        self.work = asyncio.create_task(self.stay(message))

    async def stay(self, message: Any) -> None:
        while not self.is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        self.events.append(("ends", message))


# -- Clients -----------------------------------------------------------------------------------------------------------


async def closes(wire: ClientStream) -> None:
    """Close TCP, without waiting for TLS's own end."""
    wire.writer.transport.abort()


async def resets(wire: ClientStream) -> None:
    wire.reset()


async def half_closes(wire: ClientStream) -> None:
    if not wire.writer.is_closing():
        wire.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


async def posts(served: Served, transport: str, session_id: str, message: str) -> None:
    wire = await served.connect()
    await wire.send(post_of(transport, session_id, message))


async def posts_in_pieces(served: Served, transport: str, session_id: str, message: str) -> None:
    wire = await served.connect()
    request = post_of(transport, session_id, message)
    for piece in (request[:30], request[30:-7], request[-7:-1], request[-1:]):
        await wire.send(piece)
        await served.barrier()


async def posts_and_polls_behind(served: Served, transport: str, session_id: str, message: str) -> None:
    wire = await served.connect()
    poll = f"GET /socket.io/{transport}/{session_id}/1290000000000/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    await wire.send(post_of(transport, session_id, message) + poll.encode())


async def posts_on_a_kept_connection(served: Served, transport: str, session_id: str, message: str) -> None:
    wire = await served.connect()
    await wire.send(b"HEAD /socket.io/socket.io.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await wire.read_head()
    await wire.send(post_of(transport, session_id, message))


async def posts_several(served: Served, transport: str, session_id: str, message: str) -> None:
    for each in (message, "second", "third"):
        await posts(served, transport, session_id, each)
        await served.barrier()


def post_of(transport: str, session_id: str, message: str) -> bytes:
    body = b"data=" + proto.encode(message).encode()
    fields = "".join(f"{name}: {value}\r\n" for name, value in FORM.items())
    head = f"POST /socket.io/{transport}/{session_id}/send HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


LEAVING = (closes, resets, half_closes)
WAYS = (posts, posts_in_pieces, posts_and_polls_behind, posts_on_a_kept_connection, posts_several)


def named(value: Any) -> str | None:
    return getattr(value, "__name__", None)


# -- Polling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", POLLING)
@pytest.mark.parametrize("leave", LEAVING, ids=named)
@pytest.mark.parametrize(
    ("handler", "post"),
    [*((Staying, each) for each in WAYS), (Producing, posts), (Quick, posts)],
    ids=named,
)
async def test_a_session_expires_although_a_post_of_its_client_was_at_work(
    site: Serve, clock: MovedLoop, transport: str, leave: Leaving, handler: type[Recorder], post: Posting
) -> None:
    served = site(handler, SETTINGS)
    session_id, _ = await served.open(transport)
    if handler is not Producing:
        await served.start_poll(session_id, transport)
    await post(served, transport, session_id, "first")
    [connection] = Recorder.opened
    await until(lambda: ("message", "first") in connection.events)
    await served.barrier()
    if handler is not Producing:  # else nobody polls
        await clock.advance(6 * EXPIRY)
    assert not connection.is_closed  # its client is there
    for wire in served.wires:
        await leave(wire)
    await served.barrier()
    await clock.advance(EXPIRY - 0.5)
    assert not connection.is_closed
    await clock.advance(2)
    await connection.wait_closed()
    await clock.advance(0.2)  # for a task of the application's own
    assert [event for event in connection.events if event != ("close",)] == [
        *(("open", ""), ("message", "first"), ("ends", "first")),
    ]
    assert connection.close_reason == "no request for session_expiry"
    assert sessions_of(served.router) == []
