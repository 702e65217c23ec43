"""The benchmarks: their application answers rightly; their generator finds nothing wrong in it, and notices what is.

Nothing is timed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import tornadio
from benchmarks import chart, compression, report, scale
from benchmarks.clients import framing, rounds
from benchmarks.clients.contestants import CONTESTANTS
from benchmarks.clients.load import MODES as CLIENT_MODES
from benchmarks.clients.load import QUOTES, quote
from benchmarks.contestants import BASELINE, MODES, SERVERS
from benchmarks.measuring import HERE, Run, compile_generator, with_heartbeats
from tests.appserver import REPOSITORY, AppServer
from tests.clients import Client, open_client
from tests.internals import sessions_of
from tests.support import Elsewhere, Served, limit
from tornadio.settings import PROTOCOLS

APP: Final = HERE / "servers" / "tornadio_app.py"
LISTENERS: Final = 4
SECONDS: Final = ("-t", "0.2", "--warmup", "0.05")


@pytest.fixture(scope="module", params=["loop", "broadcast"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """The TornadIO application of the benchmarks, in both of its ways to tell everybody."""
    arguments = ("--broadcast",) if request.param == "broadcast" else ()
    server = AppServer(APP, arguments, tmp_path_factory.mktemp("app") / "output.txt")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def wsbench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled generator."""
    return compile_generator(tmp_path_factory.mktemp("wsbench") / "wsbench")


async def generate(wsbench: Path, port: int, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the generator as a 0.6 client: its exit status and its figures."""
    process = await asyncio.create_subprocess_exec(
        wsbench,
        *("--port", str(port), "--profile", "sio06", "--path", "/socket.io/websocket", *SECONDS, *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(output)


# -- The application ---------------------------------------------------------------------------------------------------


async def receive(client: Client, count: int) -> list[Any]:
    """The next messages, however they were batched."""
    messages: list[Any] = []
    async with limit():
        while len(messages) < count:
            messages += await client.receive()
    return messages


@contextlib.asynccontextmanager
async def clients_of(server: AppServer, transport: str, count: int) -> AsyncIterator[list[Client]]:
    async with contextlib.aclosing(Elsewhere.of(server)) as served:
        yield [await open_client(served, transport) for _ in range(count)]


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_the_application_echoes(app, transport):
    async with clients_of(app, transport, 2) as (one, other):
        await one.send("first", "second é中😀")
        await other.send("another")
        assert await receive(one, 2) == ["first", "second é中😀"]
        assert await receive(other, 1) == ["another"]


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_the_application_fans_out_to_everybody_in_order(app, transport):
    async with clients_of(app, transport, LISTENERS) as clients:
        await clients[0].send("b:one", "b:two", "b:three")
        for client in clients:
            assert await receive(client, 3) == ["one", "two", "three"]


# -- The generator -----------------------------------------------------------------------------------------------------

FANOUTS: Final = {
    "fan-out": "--mode fanout -c 50",
    "fan-out, 8 in flight": "--mode fanout -c 50 -d 8",
    "multipart": "--mode stream -c 20 --path /socket.io/xhr-multipart",
    "htmlfile, 8 a POST": "--mode stream -c 20 -d 8 --path /socket.io/htmlfile",
}
LOADS: Final = FANOUTS | {
    "echo": "--mode echo -c 10",
    "echo, 8 in flight": "--mode echo -c 10 -d 8",
    "echo, beyond ASCII": "--mode echo -c 10 -d 3 --size 1001 --charset astral",
    "echo, 100 kB": "--mode echo -c 3 -d 2 --size 100000",
    "echo, draft-75": "--mode echo -c 10 -d 8 --hixie75",
    "connect": "--mode connect -c 10",
    "polled echo": "--mode poll -c 10 --path /socket.io/xhr-polling",
    "polled echo, 8 a POST": "--mode poll -c 10 -d 8 --path /socket.io/xhr-polling",
}


@pytest.mark.parametrize(
    ("app", "load"),
    [*(("loop", load) for load in LOADS), *(("broadcast", load) for load in FANOUTS)],
    indirect=["app"],
)
async def test_the_generator_finds_nothing_wrong(app, wsbench, load):
    status, figures = await generate(wsbench, app.port, *LOADS[load].split())
    assert (status, figures["bad"], figures["errors"], figures["error"]) == (0, 0, 0, "")
    assert figures["count"] > 0


class Batching(tornadio.SocketConnection):
    """Answers eight messages at a time, so that they travel as frames of one WebSocket message or poll."""

    def __init__(self) -> None:
        self.waiting: list[str] = []

    def on_message(self, message: Any) -> None:
        self.waiting.append(message)
        if len(self.waiting) == 8:
            self.answer()

    def answer(self) -> None:
        self.send(self.waiting)
        self.waiting.clear()


class Reversing(Batching):
    def answer(self) -> None:
        self.waiting.reverse()
        super().answer()


class Losing(Batching):
    def answer(self) -> None:
        del self.waiting[3]
        super().answer()


class LosingTheLast(Batching):
    def answer(self) -> None:
        if self.waiting[0].startswith("00000008"):
            self.waiting.pop()
        super().answer()


class Doubling(Batching):
    def answer(self) -> None:
        self.waiting.insert(0, self.waiting[0])
        super().answer()


class Altering(Batching):
    def answer(self) -> None:
        self.waiting[5] = self.waiting[5][:-1] + "!"
        super().answer()


class Shortening(Batching):
    def answer(self) -> None:
        self.waiting[5] = self.waiting[5][:-1]
        super().answer()


class Closing(Batching):
    def answer(self) -> None:
        super().answer()
        self.close()


TRANSPORTS: Final = {
    "websocket": "--mode echo -c 1 -d 8",
    "xhr-polling": "--mode poll -c 1 -d 8 --path /socket.io/xhr-polling",
}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_generator_takes_many_frames_in_one_payload(serve, wsbench, transport):
    served: Served = serve(Batching)
    status, figures = await generate(wsbench, served.port, *TRANSPORTS[transport].split())
    assert (status, figures["bad"], figures["errors"]) == (0, 0, 0)
    assert figures["count"] >= 8


@pytest.mark.parametrize("wrong", [Reversing, Losing, LosingTheLast, Doubling, Altering, Shortening, Closing])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_generator_notices_what_is_wrong(serve, wsbench, transport, wrong):
    served: Served = serve(wrong)
    status, figures = await generate(wsbench, served.port, *TRANSPORTS[transport].split(), "--patience", "0.2")
    assert status == 1
    assert figures["errors" if wrong is Closing else "bad"] > 0


async def test_the_generator_answers_heartbeats(serve, wsbench):
    served: Served = serve(Batching, {"heartbeat_interval": 0.1, "heartbeat_timeout": 2})
    status, figures = await generate(wsbench, served.port, "--mode", "idle", "-c", "5", "-t", "3")
    assert (status, figures["bad"], figures["errors"]) == (0, 0, 0)  # who doesn't answer is closed
    assert figures["heartbeats"] > 1


async def test_the_generator_keeps_polls_waiting(serve, wsbench):
    served: Served = serve(Batching, {"xhr_polling_timeout": 0.1})
    idle = ("--mode", "pollidle", "--path", "/socket.io/xhr-polling", "-c", "5", "-t", "1")
    status, figures = await generate(wsbench, served.port, *idle)
    assert (status, figures["bad"], figures["errors"], figures["count"]) == (0, 0, 0, 0)
    assert figures["heartbeats"] > 1  # polls that were answered empty


@pytest.mark.parametrize("one_is_closed", [False, True])
async def test_the_generator_holds_connections_and_says_what_becomes_of_them(serve, wsbench, one_is_closed):
    connections: dict[tornadio.SocketConnection, float] = {}  # when they were opened

    class Listed(tornadio.SocketConnection):
        def on_open(self, *args: Any, **kwargs: Any) -> None:
            connections[self] = asyncio.get_running_loop().time()

    served: Served = serve(Listed)
    process = await asyncio.create_subprocess_exec(
        *(wsbench, "--port", str(served.port), "--profile", "sio06", "--path", "/socket.io/websocket", *SECONDS),
        *("--mode", "idle", "-c", "3", "--over", "0.9", "--hold"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with limit():
        before = json.loads(await process.stdout.readline())
        assert len(sessions_of(served.router)) == len(connections) == 3
        first, second, third = connections
        assert connections[third] - connections[first] > 0.3
        if one_is_closed:
            second.close()
            await process.wait()  # there is nothing to wait for
        output, _ = await process.communicate(b"")  # ends stdin
    after = json.loads(output)
    assert (before["errors"], before["bad"]) == (after["bad"], 0) == (0, 0)
    assert process.returncode == after["errors"] == int(one_is_closed)
    assert after["seconds"] == before["seconds"]


def test_a_connection_without_a_heartbeat_is_wrong():
    figures = {"bad": 0, "errors": 0, "error": "", "heartbeats": 1}
    assert with_heartbeats(figures) == figures
    assert with_heartbeats(figures | {"heartbeats": 0})["bad"] == 1


async def test_the_generator_says_when_nobody_is_there(unused_tcp_port, wsbench):
    status, figures = await generate(wsbench, unused_tcp_port)
    assert status == 1
    assert figures["errors"] > 0
    assert "refused" in figures["error"]


# -- Tables and chart --------------------------------------------------------------------------------------------------


def run(server: str, round_: int, rate: float, mode: str = "fan", **further: Any) -> Run:
    return Run(server, mode, round_, {"rate": rate, "server_us": 1e6 / rate, "bad": 0, "errors": 0} | further)


RUNS: Final = [
    *(run(BASELINE, number, rate) for number, rate in enumerate([100.0, 50.0, 10.0])),
    *(run("tornadio", number, rate) for number, rate in enumerate([200.0, 200.0, 50.0])),
]


def test_a_ratio_is_the_median_of_the_rounds_each_to_its_own_baseline():
    [baseline, tornadio_row] = report.rows(RUNS)
    assert (baseline.ratio, baseline.rate) == (1.0, 50.0)
    assert (tornadio_row.ratio, tornadio_row.rate) == (4.0, 200.0)  # of 2, 4 and 5
    assert tornadio_row.cpu_ratio == pytest.approx(4.0)


def test_the_overview_has_a_column_for_each_mode_and_says_what_was_bad():
    bad = run("websockets", 0, 500.0, bad=3)
    lines = report.overview(report.rows([*RUNS, bad])).splitlines()
    assert [line.split() for line in lines[4:-1]] == [
        ["bare", "Tornado", "1.00"],
        ["TornadIO", "4.00"],
        ["websockets", "bad"],
    ]


def test_every_server_and_mode_is_there_to_be_measured():
    known = {name for server in SERVERS.values() for name in server.modes}
    assert known == set(MODES)
    for server in SERVERS.values():
        for part in server.command:
            assert not part.endswith((".py", ".js")) or (HERE / "servers" / part).exists()


def test_the_chart_has_a_bar_for_each_server_longer_for_better():
    document = chart.chart(report.rows(RUNS), "by a < test")
    assert document.count('<rect class="bar') == 2
    assert "by a &lt; test" in document
    bars = [line for line in document.splitlines() if '<rect class="bar' in line]
    own, baseline = (float(line.split('width="')[1].split('"')[0]) for line in bars)
    assert own > baseline > 0


# -- Scale -------------------------------------------------------------------------------------------------------------


@pytest.mark.needs("cc", "redis-server")
def test_scale_is_measured_drawn_and_written(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    chart_path, json_path = tmp_path / "scale.svg", tmp_path / "scale.json"
    command = [sys.executable, "-m", "benchmarks", "--scale", "--quick", "--chart", chart_path, "--json", json_path]
    command += ["--server-core", str(cores[0]), "--generator-core", str(cores[-1])]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    figures = json.loads(json_path.read_text(encoding="utf-8"))
    assert [(each["server"], each["transport"], each["connections"]) for each in figures["held"]] == [
        (BASELINE, "websocket", 100),
        ("tornadio", "websocket", 100),
        (BASELINE, "xhr-polling", 50),
        ("tornadio", "xhr-polling", 50),
    ]
    for each in figures["held"]:
        assert each["bad"] == ""
        assert 0 < each["share"] < 1
        assert (each["echo_us"] is not None) == (each["transport"] == "websocket")
    [fleet] = figures["fleets"]
    assert min(fleet["echo_us"], fleet["delivery_us"]) > 0
    assert chart_path.read_text(encoding="utf-8").startswith("<svg")


def test_as_many_connections_are_held_as_there_are_descriptors_for():
    assert scale.full(1 << 20).connections == [1_000, 5_000, 10_000, 20_000, 50_000]
    assert scale.full(20_000).connections == [1_000, 5_000, 10_000, 19_800]
    assert (scale.full(1_024).connections, scale.full(1_024).polls) == ([824], 824)


def held(server: str, count: int, share: float, **further: Any) -> scale.Held:
    return scale.Held(server=server, transport="websocket", connections=count, share=share, bytes=2000, **further)


HELD: Final = [
    held(BASELINE, 1000, 0.02, echo_us=60.0),
    held("tornadio", 1000, 0.005, echo_us=12.0),
    held(BASELINE, 2000, 0.04, bad="a connection was lost"),
    held("tornadio", 2000, 0.01, echo_us=12.0),
]
FLEETS: Final = [scale.Fleet(processes=number, echo_us=12.0, delivery_us=8.0) for number in (1, 2)]


def test_the_tables_of_scale_say_how_many_times_less_is_taken_and_what_was_bad():
    lines = [line.split() for line in scale.tables(HELD, FLEETS).splitlines()]
    assert ["1,000", "WebSockets", "TornadIO", "2,000", "1.0", "0.50%", "4.0", "12.0", "5.0"] in lines
    assert ["2,000", "WebSockets", "bare", "Tornado", "2,000", "4.00%", "bad"] in lines
    assert ["2", "12.0", "8.0"] in lines


def test_the_chart_of_scale_has_a_point_for_each_figure_that_is_not_bad():
    document = scale.draw(HELD, FLEETS, ["by a < test"])
    assert "by a &lt; test" in document
    # Three panels by connections, where one of four servers was bad, and one by processes with two curves.
    assert document.count("<circle") == 3 * 3 + 2 * 2
    assert document.count("<polyline") == 3 * 2 + 2
    assert ">bare Tornado 60<" in document
    places = [float(part.split('cy="')[1].split('"')[0]) for part in document.splitlines() if "<circle" in part]
    tornadio_first, tornadio_last, tornado = places[:3]
    assert tornadio_first == tornadio_last > tornado  # downwards in SVG


# -- Clients -----------------------------------------------------------------------------------------------------------


class Feed(tornadio.SocketConnection):
    """What servers/feed_app.py does, by TornadIO, and no faster than it has to be."""

    is_streaming = False

    def on_message(self, message: Any) -> Any:
        if message == "!quotes":
            self.is_streaming = True
            self.streaming = asyncio.create_task(self.stream())
        elif message == "!stop":
            self.is_streaming = False
            self.send("!stopped")
        elif message == "!heartbeats":
            self.send("!1 sent, 1 answered")
        else:
            self.send(message)

    async def stream(self) -> None:
        number = 0
        while self.is_streaming:
            self.send(quote(number % QUOTES))
            number += 1
            await self.drain()
            await asyncio.sleep(0)


class Misordering(Feed):
    def send(self, message: Any) -> None:
        if isinstance(message, str) and message.startswith("0000000"):
            message = message.replace("7", "8")
        super().send(message)


class Unanswered(Feed):
    def send(self, message: Any) -> None:
        super().send("!2 sent, 1 answered" if message == "!1 sent, 1 answered" else message)


async def run_client(client: str, mode: str, port: int) -> tuple[int | None, str, str]:
    """One client in one round: exit status, stdout, and the last line of stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.clients", client, mode, "--port", str(port), "--server", str(os.getpid())),
        *("--seconds", "0.3", "--warmup", "0.1"),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with limit():
        output, errors = await process.communicate()
    return process.returncode, output.decode(), (errors.decode().strip().splitlines() or [""])[-1]


@pytest.mark.parametrize("mode", CLIENT_MODES)
@pytest.mark.parametrize("client", [name for name in CONTESTANTS if not name.endswith("-again")])
async def test_a_client_finds_nothing_wrong(serve, client, mode):
    served: Served = serve(Feed)
    status, output, error = await run_client(client, mode, served.port)
    assert (status, error) == (0, "")
    figures = json.loads(output)
    assert figures["rate"] > 0
    assert figures["client_us"] > 0


@pytest.mark.parametrize(("wrong", "said"), [(Misordering, "message 7 is"), (Unanswered, "of 2 heartbeats 1")])
async def test_a_client_notices_what_is_wrong(serve, wrong, said):
    served: Served = serve(wrong)
    status, _, error = await run_client("websockets", "echo8", served.port)
    assert status == 1
    assert said in error


async def test_compression_is_measured_for_each_message_and_setting():
    results = await compression.run_rounds(0, 1, 0.01, 3)
    assert set(results) == set(compression.MESSAGES)
    for message, by_name in results.items():
        assert set(by_name) == set(compression.names_for(message))
        size = {name: figures["bytes"] for name, [figures] in by_name.items()}
        assert abs(size["none"] - size["none again"]) < 0.05 * size["none"]  # made-up prices
        assert (size["level 6"] < size["none"] / 3) == (message != "1 quote")
    assert results["1 quote"]["context takeover"][0]["bytes"] < results["1 quote"]["none"][0]["bytes"] / 2


TEXTS: Final = ["abc", "", "é中😀", "~m~3~m~abc", "a ~h~1", '{"a": 1}', "😀" * 40]


def test_the_framing_by_hand_is_right():
    payload = "".join(map(framing.frame, TEXTS))
    assert payload == "".join(map(tornadio.proto.encode, TEXTS))
    assert list(framing.texts(payload)) == TEXTS
    for cut in (payload[:-1], payload + "~m~"):
        with pytest.raises(ValueError, match=r"cut short|no header"):
            list(framing.texts(cut))


def test_a_clients_ratio_is_the_median_of_the_rounds_each_to_its_own_baseline():
    def figures(rate: float) -> dict[str, float]:
        return {"rate": rate, "client_us": 1e6 / rate, "client_cpu": 1.0, "server_cpu": 0.5}

    by_client: rounds.Results = {
        "echo1": {
            "websockets": [figures(rate) for rate in (100, 50, 10)],
            "tornadio": [figures(rate) for rate in (200, 200, 50)],
            "websockets-sync": [{"bad": "it failed"}],
        }
    }
    lines = rounds.tables(by_client).splitlines()
    assert [line.split() for line in lines if line.startswith("TornadIO")] == [
        ["TornadIO", "200", "4.00", "5,000.0", "4.00", "100%", "50%"]
    ]
    assert "bad" in lines[-2]
    assert rounds.wrong(by_client) == ["websockets-sync, echo1: it failed"]
