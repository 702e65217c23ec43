"""What two real servers of 2011 put on the wire, against what ours does when it is asked the same.

The recordings are trimmed copies of what a recorder saw of Socket.IO-node 0.6.18 and of the original TornadIO 0.0.5. A
test sends each recorded request to our server, at the recorded moment of a time that it moves itself, with session ids
exchanged for ours. Then it compares what a client learns from the answers. Every difference stands in `DIFFERENCES`.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

import tornadio
from tests.compatibility.differences import DIFFERENCES, NODE, ORIGINAL
from tests.compatibility.replay import Replay, load, without_welcomes
from tests.support import POLLING, MovedLoop, Serve

TRANSPORTS: Final = ("websocket", "flashsocket", "xhr-multipart", "xhr-polling", "jsonp-polling", "htmlfile")

# As the recorded servers were set; the original gave up on a client after about 8 s.
SETTINGS: Final = {
    "heartbeat_interval": 1.5,
    "heartbeat_timeout": 8,
    "xhr_polling_timeout": 2,
    "session_expiry": 3,
    "session_check_interval": 0.1,
    "origins": ["*:*"],
}


class Application(tornadio.SocketConnection):
    """What ran on the recorded servers."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.send("welcome")

    def on_message(self, message: Any) -> None:
        if message == "burst":
            self.send(["a", {"b": 1}, "é中😀", 3, True])
        elif message == "close":
            self.close()
        else:
            self.send(message)


class QuietApplication(Application):
    """Sends no welcome: over polls the original sent it with the id, which would make a difference of every step."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        pass


SERVERS: Final = (
    pytest.param(NODE, marks=pytest.mark.compatibility(client="the recorded client of Socket.IO-node 0.6.18")),
    pytest.param(ORIGINAL, marks=pytest.mark.compatibility(client="the recorded client of TornadIO 0.0.5")),
)


@pytest.mark.compatibility(scenario="every recorded request")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("server", SERVERS)
async def test_answers_mean_the_same_but_for_the_differences_in_the_table(
    clock: MovedLoop, serve: Serve, server: str, transport: str
) -> None:
    is_quiet = server == ORIGINAL and transport in POLLING
    application = QuietApplication if is_quiet else Application
    chat = tornadio.get_router(application, SETTINGS, resource="chat", extra_re=r"\d+", extra_sep="/")
    limited = tornadio.get_router(application, SETTINGS | {"enabled_protocols": ["xhr-polling"]}, resource="limited")
    served = serve(application, SETTINGS, handlers=(chat.route(), limited.route()))

    outcomes = await Replay(served, clock).run(load(server, transport))
    if is_quiet:
        outcomes = without_welcomes(outcomes)

    rows = [row for row in DIFFERENCES if row.server == server]
    differing = [outcome for outcome in outcomes if not outcome.same]
    told = {outcome: [row for row in rows if row.tells(transport, outcome)] for outcome in differing}
    assert [outcome for outcome, telling in told.items() if not telling] == [], "a difference that is not in the table"
    shown = {(row, outcome.step) for outcome, telling in told.items() for row in telling}
    listed = {(row, step) for row in rows for step in row.steps_over(transport)}
    assert listed - shown == set(), "a row of the table that is no difference any more"


async def test_the_first_answer_is_the_session_id_alone(clock: MovedLoop, serve: Serve) -> None:
    first, *_ = await Replay(serve(Application, SETTINGS), clock).run(load(NODE, "xhr-polling")[:1])
    assert (first.ours, first.theirs) == ("GET: [ID]", "GET: [ID]")


def test_every_difference_has_its_place() -> None:
    """A row for a server or transport that is not recorded would never be looked at."""
    for row in DIFFERENCES:
        assert row.server in (NODE, ORIGINAL)
        assert row.transports
        assert set(row.transports) <= set(TRANSPORTS)
        assert row.steps
        assert row.reason
