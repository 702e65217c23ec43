"""JSON that is made to break its reader is answered with an error and a reason, in time in proportion to its bytes.

Brackets without end are a RecursionError in most readers, a million digits take Python the square of their number; NaN
and half characters pass many readers, and break whoever gets them next. Half characters are what honest pages send that
cut a text by its length, so they are no error: they arrive as U+FFFD, the replacement character.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.clients import HixiePeer, HybiPeer, SocketClient, greeted, opened, received
from tests.support import POLLING, Recorder, jsonp_payload
from tests.texts import frame, json_frame
from tornadio import proto
from tornadio.settings import PROTOCOLS

MILLION = 1_000_000
DEEP = 100_000
MANY = range(50_000)
# What is four times as long may take twice that: to look at everything again would take sixteen times.
GROWTH = 4
MAX_COST = 8


def nested(depth: int, message: object) -> object:
    for _ in range(depth):
        message = {"a": message}
    return message


# Payloads, and what their sender is told.
HOSTILE: dict[str, tuple[str, str]] = {
    "open brackets": (json_frame("[" * DEEP), "JSON is nested too deeply"),
    "brackets": (json_frame("[" * DEEP + "]" * DEEP), "JSON is nested too deeply"),
    "open objects": (json_frame('{"a":' * DEEP), "JSON is nested too deeply"),
    "objects": (json_frame('{"a":' * DEEP + "1" + "}" * DEEP), "JSON is nested too deeply"),
    "objects in brackets": (json_frame('[{"a":' * DEEP + "1" + "}]" * DEEP), "JSON is nested too deeply"),
    "brackets around a pair": (json_frame("[" * DEEP + r'"\ud83d\ude00"' + "]" * DEEP), "JSON is nested too deeply"),
    "an integer of a million digits": (json_frame("9" * MILLION), "bad JSON: a number of 1000000 digits is too long"),
    "a negative one": (json_frame("-" + "9" * MILLION), "bad JSON: a number of 1000001 digits is too long"),
    "an integer of 4301 digits": (json_frame("9" * 4301), "bad JSON: a number of 4301 digits is too long"),
    "one behind others": (
        json_frame('{"a": [1, ' + "9" * 5000 + "]}"),
        "bad JSON: a number of 5000 digits is too long",
    ),
    "an exponent": (json_frame("1e999"), "bad JSON: 1e999 is too large for a number"),
    "a negative number's exponent": (json_frame("[-1E+999]"), "bad JSON: -1E+999 is too large for a number"),
    "an exponent of a million digits": (
        json_frame("1e" + "9" * MILLION),
        "bad JSON: 1e999999999999999999 is too large",
    ),
    "a million digits and a fraction": (
        json_frame("1" * MILLION + ".5"),
        "bad JSON: 11111111111111111111 is too large",
    ),
    "NaN": (json_frame("NaN"), "bad JSON: NaN is not JSON"),
    "Infinity": (json_frame('{"a": [Infinity]}'), "bad JSON: Infinity is not JSON"),
    "-Infinity": (json_frame("-Infinity"), "bad JSON: -Infinity is not JSON"),
    "a string without end": (json_frame('"' + "a" * MILLION), "bad JSON: Unterminated string"),
    "backslashes without end": (json_frame('"' + "\\\\" * (MILLION // 2)), "bad JSON: Unterminated string"),
    "a list without end": (json_frame("[" + "1," * (MILLION // 2)), "bad JSON: "),
    "a million blanks": (json_frame(" " * MILLION), "bad JSON: "),
    "a million lines": (json_frame("\n" * MILLION + "x"), "bad JSON: "),
    "a byte order mark": (json_frame("\ufeff{}"), "bad JSON: it starts with a byte order mark"),
    "nothing": (json_frame(""), "bad JSON: "),
    "a length of a million digits": ("~m~" + "9" * MILLION + "~m~x", "expected ~m~LENGTH~m~ at 0"),
    "a length of zeros": ("~m~" + "0" * MILLION + "~m~", "expected ~m~LENGTH~m~ at 0"),
    "a length of ten digits": ("~m~9999999999~m~x", "frame at 16 says 9999999999 UTF-16 code units, only 1 follow"),
    "a million marks": ("~m~" * (MILLION // 3), "expected ~m~LENGTH~m~ at 0"),
}  # fmt: skip

# What is only large is a message.
LARGE_JSON: dict[str, tuple[str, object]] = {
    "a key a hundred thousand times": (json_frame("{" + '"a": 1, ' * DEEP + '"a": 2}'), {"a": 2}),
    "many keys": (json_frame("{" + ", ".join(f'"{n}": {n}' for n in MANY) + "}"), {str(n): n for n in MANY}),
    "an integer of 4300 digits": (json_frame("[" + "9" * 4300 + "]"), [10**4300 - 1]),
    "many long integers": (json_frame("[" + ", ".join(["9" * 4300] * 200) + "]"), [10**4300 - 1] * 200),
    "a fraction of a million digits": (json_frame("[0." + "3" * MILLION + "]"), [1 / 3]),
    "a negative exponent of many digits": (json_frame("[1e-" + "9" * MILLION + "]"), [0.0]),
    "a string of escapes": (json_frame('"' + r"\"" * 400_000 + '"'), '"' * 400_000),
    "a million blanks": (json_frame(" " * MILLION + "[]" + " "), []),
}  # fmt: skip

# What a page has cut in the middle of a character, and how it arrives.
CUT: dict[str, tuple[str, object]] = {
    "the first half of a character": (r'"hello \ud83d"', "hello \ufffd"),
    "the second half of a character": (r'{"a": ["\ude00"]}', {"a": ["\ufffd"]}),
    "halves in the wrong order": (r'{"a": "\ude00\ud83d"}', {"a": "\ufffd\ufffd"}),
    "half a character in a key": (r'{"\udbff": 1}', {"\ufffd": 1}),
    "half a character beside a whole one": (r'"\ud83d\ud83d\ude00"', "\ufffd😀"),
    "half a character deep inside": ('{"a": ' * 100 + r'"\ud83d"' + "}" * 100, nested(100, "\ufffd")),
    "a backslash and what looks like half a character": (r'"\\ud83d"', r"\ud83d"),
    "a backslash and half a character": (r'"\\\ud83d"', "\\\ufffd"),
    "many halves of characters": ('"' + r"\ud83d" * 150_000 + '"', "\ufffd" * 150_000),
}  # fmt: skip


@pytest.mark.pure
@pytest.mark.parametrize("kind", CUT)
def test_half_a_character_is_decoded_as_a_replacement_character(kind):
    text, message = CUT[kind]
    assert proto.decode(json_frame(text) + proto.encode("behind it")) == [("~m~", message), ("~m~", "behind it")]


@pytest.mark.pure
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_payload_is_an_error_that_says_what_is_wrong(kind):
    payload, reason = HOSTILE[kind]
    with pytest.raises(proto.ProtocolError) as raised:
        proto.decode(payload)
    assert str(raised.value).removeprefix("frame 1: ").startswith(reason)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_half_a_character_arrives_as_a_replacement_character(serve, caplog, transport):
    served = serve()
    client = await greeted(served, transport)
    for text, message in CUT.values():
        Recorder.opened[0].events.clear()
        if isinstance(client, SocketClient):
            await client.peer.send(json_frame(text) + proto.encode("behind it"))
        else:
            data = json_frame(text) + proto.encode("behind it")
            response = await served.post_data(client.session_id, data, transport)
            assert (response.status, response.text) == (200, "ok")
        assert await received(client, "behind it") == [message]
        assert Recorder.opened[0].events == [("message", message), ("message", "behind it")]
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("transport", POLLING)
async def test_a_hostile_post_is_answered_400_and_the_session_goes_on(serve, caplog, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    for kind, (payload, reason) in HOSTILE.items():
        Recorder.opened[0].events.clear()
        response = await served.post_data(session_id, payload, transport)
        assert response.status == 400, kind
        assert response.text.removeprefix("frame 1: ").startswith(reason), kind
        assert len(response.text) < 200
        assert (await served.post(session_id, "still here", transport=transport)).text == "ok"
        answer = (await served.poll(session_id, transport)).text
        assert proto.encode("still here") in (answer if transport == "xhr-polling" else jsonp_payload(answer))
        assert Recorder.opened[0].events == [("message", "still here")], kind
    assert [record for record in caplog.records if record.exc_info] == []


# Of each kind of error one, since it ends the connection: what is nested, a number, what is no JSON, or no frame.
ENDING = ("open brackets", "an integer of a million digits", "NaN", "nothing", "a length of a million digits")


@pytest.mark.parametrize("version", ["13", "76"])
@pytest.mark.parametrize("kind", ENDING)
async def test_a_hostile_websocket_message_ends_its_connection_with_1007_and_no_other(serve, caplog, kind, version):
    payload, reason = HOSTILE[kind]
    served = serve()
    peer, other = await opened(served, version), await greeted(served)
    await peer.send(payload)
    if isinstance(peer, HybiPeer):
        assert await peer.ended() == 1007
        assert peer.protocol.close_reason is not None
        assert peer.protocol.close_reason.removeprefix("frame 1: ").startswith(reason)
    else:
        assert isinstance(peer, HixiePeer)
        await peer.ended()
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("close",)]
    await other.send("still here")
    assert await other.receive() == ["still here"]
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("kind", LARGE_JSON)
async def test_json_that_is_only_large_is_a_message(serve, kind):
    class Silent(Recorder):
        def on_message(self, message: object) -> None:
            self.events.append(("message", message))

    payload, message = LARGE_JSON[kind]
    served = serve(Silent)
    session_id, _ = await served.open()
    assert (await served.post_data(session_id, payload)).text == "ok"
    # A comparison of the whole, but no report of a difference: that would take the square of it.
    assert Recorder.opened[0].events[1:] == [("message", message)] or pytest.fail("another message", pytrace=False)


# -- In proportion -----------------------------------------------------------------------------------------------------


@pytest.fixture
def unlimited_digits() -> Iterator[None]:
    """What an application does that computes with large numbers."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


REPEATED: dict[str, Callable[[int], str]] = {
    "brackets": lambda number: json_frame("[" * number),
    "objects": lambda number: json_frame('{"a":' * number),
    "digits": lambda number: json_frame("9" * number),
    "integers": lambda number: json_frame("[" + ",".join(["9" * 4000] * (number // 4000)) + "]"),
    "short integers": lambda number: json_frame("[" + "1," * (number // 2) + "1]"),
    "digits of a fraction": lambda number: json_frame("0." + "3" * number),
    "digits of an exponent": lambda number: json_frame("1e" + "9" * number),
    "a key": lambda number: json_frame("{" + '"a":1,' * (number // 6) + '"a":1}'),
    "halves of characters": lambda number: json_frame('"' + r"\ud800" * (number // 6) + '"'),
    "whole characters": lambda number: json_frame('"' + r"\ud83d\ude00" * (number // 12) + '"'),
    "lines": lambda number: json_frame("\n" * number + "x"),
    "quotes": lambda number: json_frame('"' * number),
    "digits of a length": lambda number: "~m~" + "9" * number + "~m~",
    "frames of brackets": lambda number: json_frame("[" * 50 + "]" * 50) * (number // 100),
    "frames behind an astral one": lambda number: "~m~2~m~😀" + json_frame("1") * (number // 10),
    # What only looks like JSON without a mark.
    "bare brackets": lambda number: frame("[" * (number // 2) + "]" * (number // 2)),
    "bare objects": lambda number: frame("{}" * (number // 2)),
    "frames of what is no array": lambda number: frame("[,]") * (number // 10),
    "blanks": lambda number: frame(" " * number),
    "blanks around a bracket": lambda number: frame(" " * (number // 2) + "[" + " " * (number // 2)),
}


def cost(payload: str) -> float:
    gc.collect()
    gc.disable()  # it looks at what other tests have left in memory, too, as often as it likes
    try:
        before = time.process_time()
        with contextlib.suppress(proto.ProtocolError):
            proto.decode(payload, "plain")  # which reads what has a mark as the other format does
        return time.process_time() - before
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", REPEATED)
def test_its_cost_is_in_proportion_to_its_bytes(unlimited_digits, kind):
    payloads = [REPEATED[kind](number) for number in (MILLION // GROWTH, MILLION)]
    short, long = (min(cost(payload), cost(payload)) for payload in payloads)  # the machine may be busy
    assert long < MAX_COST * max(short, 0.01)


async def test_whatever_limit_the_interpreter_has_long_integers_are_refused(serve, unlimited_digits):
    served = serve()
    session_id, _ = await served.open()
    response = await served.post_data(session_id, json_frame("9" * 4301))
    assert (response.status, response.text) == (400, "frame 1: bad JSON: a number of 4301 digits is too long")
