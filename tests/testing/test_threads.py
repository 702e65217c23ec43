"""Servers for tests without an event loop: `with testing.serve(...)`, `with testing.manual_server(...)`."""

from __future__ import annotations

from typing import Any

import pytest
import tornado.web
import websockets.sync.client

import tornadio
import tornadio.sync
from tornadio import proto, testing


class Echo(tornadio.SocketConnection):
    ends: list[int | None] = []

    def on_message(self, message: Any) -> None:
        if message == "fail":
            raise ValueError("as the test asked")
        self.send(message)

    def on_close(self) -> None:
        self.ends.append(self.close_code)


def test_an_application_is_served_in_a_thread():
    Echo.ends.clear()
    routers = [tornadio.get_router(Echo, resource=name) for name in ("one", "two")]
    with testing.serve(tornado.web.Application([router.route() for router in routers])) as server:
        with server.connect() as socket, server.connect("two", transports=["xhr-polling"]) as other:
            socket.send({"a": 1})
            assert socket.recv(timeout=10) == {"a": 1}
            server.routers[1].broadcast("to all of two")
            assert other.recv(timeout=10) == "to all of two"
            assert [type(each) for each in server.connections] == [Echo, Echo]
            server.connections[0].send("from the test's thread")
            assert socket.recv(timeout=10) == "from the test's thread"
        with websockets.sync.client.connect(server.websocket_url) as foreign:
            foreign.recv()
        assert server.url == f"http://127.0.0.1:{server.port}/one"
        left_open = server.connect()
    assert sorted(map(str, Echo.ends)) == ["1000", "1000", "1001", "1005"]
    left_open.close()


def test_errors_of_the_application_fail_the_test():
    def test() -> None:
        with testing.serve(Echo) as server, server.connect() as socket:
            socket.send("fail")
            socket.wait_closed()
            assert [str(error) for error in server.errors] == ["as the test asked"]

    with pytest.raises(ExceptionGroup, match="the application under test has failed") as raised:
        test()
    assert isinstance(raised.value.exceptions[0], ValueError)


def test_a_client_in_the_tests_thread_against_a_server_by_hand():
    with testing.manual_server(json="plain") as server, tornadio.sync.connect(server.url, json="plain") as socket:
        peer = server.accept()
        assert (peer.session_id, peer.request.path) == (socket.session_id, "/socket.io/websocket")
        peer.send({"a": 1})
        peer.send_raw(proto.encode("one") + proto.encode("two"))
        peer.write(b"\x81\x0a~m~3~m~raw")
        assert [socket.recv(timeout=10) for _ in range(4)] == [{"a": 1}, "one", "two", "raw"]
        peer.heartbeat()
        assert (peer.heartbeats_sent, peer.heartbeats_answered) == (1, 1)
        for message in ("hello", {"b": 2}):
            socket.send(message)
        assert (peer.recv(), peer.recv_raw()) == ("hello", '~m~8~m~{"b": 2}')
        assert len(peer.received) == 3
        with pytest.raises(TimeoutError, match="the client has sent no message within"):
            peer.recv(timeout=0.05)
        assert not peer.is_closed
        peer.close(4000, "bye")
        peer.wait_closed()
        assert (peer.is_closed, peer.close_code, peer.close_reason) == (True, 4000, "")
        socket.wait_closed()
        assert socket.close_reason == "bye"


def test_handshakes_and_ends_of_a_server_by_hand():
    with testing.manual_server() as server:
        server.refuse_handshakes(403, "not you", times=1)
        with pytest.raises(tornadio.ConnectError, match="not you"):
            tornadio.sync.connect(server.url)
        server.drop_handshakes()
        with pytest.raises(tornadio.ConnectError):
            tornadio.sync.connect(server.url, transports=["websocket"])
        server.ignore_handshakes(times=1)
        with pytest.raises(tornadio.ConnectError, match="longer than"):
            tornadio.sync.connect(server.url, transports=["websocket"], open_timeout=0.1)
        server.accept_handshakes()
        socket = tornadio.sync.connect(server.url)
        peer = server.accept()
        peer.pause_reading()
        peer.resume_reading()
        peer.drop(reset=True)
        with pytest.raises(tornadio.ConnectionClosed):
            socket.recv(timeout=10)
        socket.close()
        assert server.websocket_url == f"ws://127.0.0.1:{server.port}/socket.io/websocket"
        assert len(server.requests) == 5
