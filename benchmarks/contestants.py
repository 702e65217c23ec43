"""What is compared with what: the servers, and the modes in which they are loaded."""

from __future__ import annotations

import dataclasses
from typing import Final

BASELINE: Final = "tornado"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """A server of `benchmarks/servers`.

    `command` may hold `{python}`, `{node}` and `{wsbench}`; `--port=N` is added. `heartbeats` are its further arguments
    for the mode of that name, `modes` those that it can do, `generator` further arguments of wsbench. One that
    `is_compiled` has TornadIO as `TORNADIO_COMPILE=1` installs it.
    """

    name: str
    title: str
    command: tuple[str, ...]
    modes: frozenset[str]
    profile: str = "raw"
    path: str = "/ws"
    generator: tuple[str, ...] = ()
    heartbeats: tuple[str, ...] = ()
    is_compiled: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mode:
    """A way to load a server: the arguments of wsbench for it.

    Ratios are to the server `baseline`. `path` is that of a transport where it isn't the server's own. A `fresh` server
    has not served anybody before, as its memory is looked at.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    baseline: str = BASELINE
    path: str = ""
    fresh: bool = False
    in_default: bool = True


def _mode(
    name: str,
    title: str,
    arguments: str,
    *,
    baseline: str = BASELINE,
    path: str = "",
    fresh: bool = False,
    extra: bool = False,
) -> Mode:
    return Mode(
        name=name,
        title=title,
        arguments=tuple(arguments.split()),
        baseline=baseline,
        path=path,
        fresh=fresh,
        in_default=not extra,
    )


MODES: Final = {
    mode.name: mode
    for mode in (
        _mode("echo1", "echo, 1 in flight", "--mode echo -c 50"),
        _mode("echo8", "echo, 8 in flight", "--mode echo -c 50 -d 8"),
        _mode("echo1k", "echo, 1 kB", "--mode echo -c 50 --size 1000"),
        _mode("latin1k", "echo, 1 kB of é", "--mode echo -c 50 --size 1000 --charset latin", extra=True),
        _mode("echo100k", "echo, 100 kB", "--mode echo -c 10 --size 100000"),
        _mode("fan", "fan-out to 1000", "--mode fanout -c 1000"),
        _mode("fan8", "8 fan-outs in flight", "--mode fanout -c 1000 -d 8"),
        _mode("connect", "connect", "--mode connect -c 50"),
        _mode("poll", "polled echo", "--mode poll -c 50", path="/socket.io/xhr-polling"),
        _mode("poll8", "polled echo, 8 a POST", "--mode poll -c 50 -d 8", path="/socket.io/xhr-polling", extra=True),
        _mode("multipart", "multipart to 200", "--mode stream -c 200", path="/socket.io/xhr-multipart"),
        _mode("htmlfile", "htmlfile to 200", "--mode stream -c 200", path="/socket.io/htmlfile"),
        _mode("idle", "bytes a connection", "--mode idle -c 5000", fresh=True),
        _mode("heartbeats", "10,000 idle", "--mode idle -c 10000", fresh=True),
        _mode("bus", "3 processes, fan-out to 900", "--mode fanout -c 900", baseline="python-socketio-bus"),
        # What python-socketio's processes can't keep up with.
        _mode("bus8", "the same, 8 in flight", "--mode fanout -c 900 -d 8", baseline="tornadio-broadcast"),
    )
}

FANOUT: Final = frozenset({"fan", "fan8"})
WEBSOCKET: Final = FANOUT | {"echo1", "echo8", "echo1k", "latin1k", "echo100k", "connect", "idle"}
POLLING: Final = frozenset({"poll", "poll8"})
STREAMING: Final = frozenset({"multipart", "htmlfile"})
BUS: Final = frozenset({"bus", "bus8"})
HEARTBEATS: Final = frozenset({"heartbeats"})
ENGINE4: Final = "/socket.io/?EIO=4&transport=websocket"


def _python(script: str, *arguments: str) -> tuple[str, ...]:
    return ("{python}", script, *arguments)


_OWN: Final = Server(
    name="tornadio",
    title="TornadIO",
    command=_python("tornadio_app.py"),
    modes=WEBSOCKET | POLLING | STREAMING | HEARTBEATS,
    profile="sio06",
    path="/socket.io/websocket",
)

SERVERS: Final = {
    server.name: server
    for server in (
        Server(
            name=BASELINE,
            title="bare Tornado",
            command=_python("tornado_app.py"),
            modes=WEBSOCKET | POLLING | STREAMING | HEARTBEATS,
            heartbeats=("--heartbeats", "12"),
        ),
        # How far its ratio is from 1 is the noise of a run.
        Server(name="tornado-again", title="bare Tornado again", command=_python("tornado_app.py"), modes=WEBSOCKET),
        _OWN,
        dataclasses.replace(_OWN, name="tornadio-compiled", title="TornadIO, compiled", is_compiled=True),
        Server(
            name="tornadio-broadcast",
            title="TornadIO, broadcast",
            command=_python("tornadio_app.py", "--broadcast"),
            modes=FANOUT | STREAMING | BUS,
            profile="sio06",
            path="/socket.io/websocket",
        ),
        Server(
            name="tornadio-bus",
            title="TornadIO, 3 processes",
            command=_python("fleet.py", "tornadio_app.py", "--broadcast"),
            modes=BUS,
            profile="sio06",
            path="/socket.io/websocket",
            generator=("--ports", "3"),
        ),
        Server(
            name="python-socketio",
            title="python-socketio",
            command=_python("socketio_app.py"),
            modes=WEBSOCKET - {"latin1k"} | HEARTBEATS,
            profile="sio4",
            path=ENGINE4,
        ),
        Server(
            name="python-socketio-bus",
            title="python-socketio, 3 processes",
            command=_python("fleet.py", "socketio_app.py"),
            modes=frozenset({"bus"}),
            profile="sio4",
            path=ENGINE4,
            generator=("--ports", "3"),
        ),
        Server(
            name="sockjs-tornado",
            title="sockjs-tornado",
            command=_python("sockjs_app.py"),
            modes=WEBSOCKET - {"latin1k"},
            profile="sockjs",
            path="/echo/000/{id}/websocket",
        ),
        Server(
            name="websockets",
            title="websockets",
            command=_python("websockets_app.py"),
            modes=WEBSOCKET | HEARTBEATS,
            heartbeats=("--heartbeats", "12"),
        ),
        Server(name="ws", title="Node ws", command=("{node}", "ws_app.js"), modes=WEBSOCKET),
        Server(
            name="socket.io",
            title="Node socket.io 4",
            command=("{node}", "socketio4_app.js"),
            modes=WEBSOCKET | HEARTBEATS,
            profile="sio4",
            path=ENGINE4,
        ),
        Server(
            name="socket.io-0.6",
            title="Socket.IO-node 0.6",
            command=("{node}", "socketio06_app.js"),
            # A message of 100 kB takes it seconds; it streams xhr-multipart as HTTP/1.0 does, without chunks.
            modes=WEBSOCKET - {"echo100k"} | POLLING | {"htmlfile"} | HEARTBEATS,
            profile="sio06",
            path="/socket.io/websocket",
            generator=("--hixie75",),
        ),
        Server(name="picows", title="picows (Cython)", command=_python("picows_app.py"), modes=WEBSOCKET),
        Server(name="c", title="C, one send a message", command=("{wsbench}", "--mode", "serve"), modes=WEBSOCKET),
    )
}
