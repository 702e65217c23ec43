"""The real programs, on loopback: Redis, three processes, HAProxy and nginx with the documented configurations."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from pathlib import Path
from typing import Any

import simplejson

from examples.cluster import cluster
from tests.appserver import AppServer, Daemon, free_port
from tests.clients import Client, PollingClient, SocketClient, StreamClient, connect
from tests.support import SECONDS, SOCKETS, STREAMING, ClientStream, Elsewhere, Response, Stream, limit
from tornadio import proto

HERE = Path(__file__).resolve().parent
NODES = "abc"
READY = "ready "


def daemon_of(name: str, *arguments: str, port: int, directory: Path) -> Daemon:
    """A program that is no Python of ours."""
    return Daemon(name, [cluster.program(name), *arguments], port, directory / f"{name}.txt")


@dataclasses.dataclass(frozen=True)
class Proxy:
    name: str
    daemon: Daemon
    web_port: int
    flash_port: int  # where flashsocket is served


class Fleet:
    """All of it, running."""

    def __init__(self, directory: Path, client: Path) -> None:
        self._directory = directory
        redis_port = free_port()
        redis_arguments = ("--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory))
        self.redis = daemon_of("redis-server", *redis_arguments, port=redis_port, directory=directory)
        bus = f"redis://127.0.0.1:{redis_port}/0"
        self.nodes = {
            node: AppServer(
                HERE / "node_app.py",
                (f"--bus={bus}", f"--node={node}", f"--client={client}"),
                directory / f"{node}.txt",
            )
            for node in NODES
        }
        self.proxies = {"haproxy": self._haproxy(), "nginx": self._nginx()}

    def start(self) -> None:
        self.redis.start()
        for node in self.nodes.values():
            node.start()
        for proxy in self.proxies.values():
            proxy.daemon.start()

    def stop(self) -> None:
        for proxy in self.proxies.values():
            proxy.daemon.stop()
        for node in self.nodes.values():
            node.kill()
        self.redis.stop()

    def output(self) -> str:
        texts = {path.name: path.read_text("utf-8", "replace") for path in sorted(self._directory.glob("*.txt"))}
        return "\n".join(f"-- {name}\n{text}" for name, text in texts.items())

    def _configure(self, name: str, web: int, flash: int) -> Path:
        """The documented configuration, with the ports of this fleet."""
        ports = {node: server.port for node, server in self.nodes.items()} | {"web": web, "flash": flash}
        path = self._directory / name
        path.write_text(cluster.adapted(cluster.HERE / name, ports), encoding="utf-8")
        return path

    def _haproxy(self) -> Proxy:
        web, flash = free_port(), free_port()
        path = self._configure("haproxy.cfg", web, flash)
        daemon = daemon_of("haproxy", "-f", str(path), port=web, directory=self._directory)
        return Proxy("haproxy", daemon, web, flash)

    def _nginx(self) -> Proxy:
        web = free_port()
        path = self._configure("nginx.conf", web, 0)
        path.write_text(with_own_places(path.read_text(encoding="utf-8")), encoding="utf-8")
        main = "daemon off; pid nginx.pid;"
        arguments = ("-p", str(self._directory), "-c", str(path), "-e", "stderr", "-g", main)
        daemon = daemon_of("nginx", *arguments, port=web, directory=self._directory)
        return Proxy("nginx", daemon, web, web)


def with_own_places(configuration: str) -> str:
    """nginx.conf with directories that don't need root."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return configuration.replace("http {\n", "http {\n" + "".join(f"{kind}_temp_path {kind};\n" for kind in kinds))


@dataclasses.dataclass(frozen=True)
class _Listener:
    port: int


@dataclasses.dataclass(frozen=True)
class Proxied(Elsewhere):
    """What clients need of a server behind a proxy, which may cut the chunks of a stream as it likes."""

    @classmethod
    def at(cls, port: int) -> Proxied:
        return cls(_Listener(port), None)  # type: ignore[arg-type]

    async def stream(self, transport: str, session_id: str = "", headers: dict[str, str] | None = None) -> Stream:
        wire = await self.connect()
        await wire.send_request("GET", f"/socket.io/{transport}/{session_id}/1290000000000", headers)
        head = await wire.read_head()
        assert head.status == 200, head
        return ProxiedStream(transport, wire, head)


class ProxiedStream(Stream):
    """A stream in chunks of whatever size."""

    def __init__(self, transport: str, wire: ClientStream, head: Response) -> None:
        super().__init__(transport, wire, head, b"")
        if transport == "xhr-multipart":
            boundary = re.escape(head.headers["content-type"].partition("boundary=")[2].strip('"').encode())
            pattern = rb"Content-Type: text/plain; charset=UTF-8\n\n(.*?)\n--" + boundary + rb"\n"
        else:
            pattern = rb"<script>parent\.s\._\((.*?), document\);</script>"
        object.__setattr__(self, "_pattern", re.compile(pattern, re.DOTALL))
        object.__setattr__(self, "_buffer", bytearray())

    _pattern: re.Pattern[bytes]
    _buffer: bytearray

    async def read_payload(self) -> str:
        while (part := self._pattern.search(self._buffer)) is None:
            chunk = await self.wire.read_chunk()
            if not chunk:
                return ""
            self._buffer.extend(chunk)
        payload = part[1].decode("utf-8")
        del self._buffer[: part.end()]
        return payload if self.transport == "xhr-multipart" else str(simplejson.loads(payload))


class Visit:
    """What a test does at a fleet: its connections, which are closed in the end."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._served: list[Proxied] = []

    def at(self, port: int) -> Proxied:
        served = Proxied.at(port)
        self._served.append(served)
        return served

    def at_node(self, node: str) -> Proxied:
        """Without a proxy."""
        return self.at(self.fleet.nodes[node].port)

    async def open(self, proxy: Proxy, transport: str) -> Client:
        """A client of any process, that has had its session id."""
        return await open_at(self.at(proxy.flash_port if transport == "flashsocket" else proxy.web_port), transport)

    async def one_of_each(self, proxy: Proxy, transport: str, nodes: str = NODES) -> dict[str, Client]:
        """A client of each process: who comes first is where the proxy likes."""
        clients: dict[str, Client] = {}
        ballast: list[Client] = []
        async with limit():
            while not clients.keys() >= set(nodes):
                client = await self.open(proxy, transport)
                if clients.setdefault(node_of(client), client) is not client:
                    await leave(client)
                    ballast.append(await self.open(proxy, "websocket"))  # so that another process's turn comes
        for weight in ballast:
            await weight.leave()
        return clients

    async def wait_for_bus(self) -> None:
        """Until what is said at each process is heard at all: a process that subscribes as yet misses what is said."""
        clients = {node: await open_at(self.at_node(node), "websocket") for node in NODES}
        missing = {node: set(NODES) for node in NODES}

        async def listen(node: str) -> None:
            while missing[node]:
                missing[node] -= {str(message).removeprefix(READY) for message in await clients[node].receive()}

        listening = {asyncio.create_task(listen(node)) for node in NODES}
        try:
            async with limit():
                while listening:
                    for node, client in clients.items():
                        await client.send(READY + node)
                    done, listening = await asyncio.wait(listening, timeout=0.1)
                    for task in done:
                        task.result()
        finally:
            for task in listening:
                task.cancel()
        for client in clients.values():
            await client.leave()

    async def aclose(self) -> None:
        for served in self._served:
            await served.aclose()


async def open_at(served: Proxied, transport: str) -> Client:
    if transport in STREAMING:
        stream, session_id = await served.open_stream(transport)
        return StreamClient(served, transport, stream, session_id)
    if transport in SOCKETS:
        peer = await connect(served, "13" if transport == "websocket" else "76", f"/socket.io/{transport}")
        [(_, session_id)] = proto.decode(await peer.receive())
        return SocketClient(peer, str(session_id))
    return PollingClient(served, transport, *await served.open(transport))


async def hear(client: Client) -> list[Any]:
    """What comes next but heartbeats, and what was said to try the bus."""
    return [message for message in await client.receive() if not str(message).startswith(("~h~", READY))]


async def hear_to_the_end(client: Client, ends: int) -> list[Any]:
    """All messages up to so many times `end`, which may be said a while from now."""
    heard: list[Any] = []
    async with asyncio.timeout(5 * SECONDS):
        while heard.count("end") < ends:
            heard += await hear(client)
    return heard


async def leave(client: Client) -> None:
    """Go, and leave no session behind that a process which stops would wait for."""
    if isinstance(client, PollingClient):
        await client.send("goodbye")
        await client.ended()
    await client.leave()


def node_of(client: Client) -> str:
    assert re.fullmatch(f"[{NODES}][0-9a-f]{{32}}", client.session_id), client.session_id
    return client.session_id[0]
