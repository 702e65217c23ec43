"""docs/vectors.json: what the library makes of it, and that docs/protocol.rst shows it."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

import tornadio
from tests.compatibility.meaning import frames
from tests.documents.pages import Page, table_rows
from tests.documents.vectors import HEADS, VECTORS, rows
from tests.support import Serve
from tornadio import proto
from tornadio.client.streamformats import HTMLFileParser
from tornadio.errors import ProtocolError
from tornadio.framing import split_frames
from tornadio.websocket import hixie, rfc6455

PAGE = Page("docs/protocol.rst")
pytestmark = pytest.mark.local
CHALLENGE: Final = PAGE.code("Drafts 75 and 76")
LENIENT: Final = PAGE.code("Lengths")


class Echo(tornadio.SocketConnection):
    def on_message(self, message: Any) -> None:
        self.send(message)


@pytest.mark.pure
def test_the_tables_are_the_vectors() -> None:
    tables = [[cell.replace("``", "") for cell in row] for key in HEADS for row in rows(key)]
    assert [*table_rows("Test vectors", PAGE.path)][len(VECTORS) - 1 :] == tables
    assert {row[0] for row in table_rows("Test vectors", PAGE.path)} >= VECTORS.keys() - {"about"}
    counted = [row[:4] for row in table_rows("Lengths", PAGE.path)]
    known = {
        vector["text"]: [str(vector[key]) for key in ("utf16", "characters", "utf8")] for vector in VECTORS["lengths"]
    }
    assert [row[1:] for row in counted] == [known[row[0]] for row in counted]


@pytest.mark.pure
def test_lengths() -> None:
    for vector in VECTORS["lengths"]:
        text = vector["text"]
        counts = (len(text.encode("utf-16-le")) // 2, len(text), len(text.encode()))
        assert counts == (vector["utf16"], vector["characters"], vector["utf8"]), text
        assert proto.encode(text) == f"~m~{vector['utf16']}~m~{text}"


@pytest.mark.pure
def test_the_lenient_receiver_reads_whatever_lengths_count() -> None:
    program: dict[str, Any] = {}
    exec(LENIENT, program)
    texts = [vector["text"] for vector in VECTORS["lengths"]]
    for count in ("utf16", "characters", "utf8"):
        payload = "".join(f"~m~{vector[count]}~m~{vector['text']}" for vector in VECTORS["lengths"])
        assert [*program["lenient_texts"](payload)] == texts, count
    for vector in VECTORS["payloads"]:
        assert [*program["lenient_texts"](vector["payload"])] == [*split_frames(vector["payload"])]
    for vector in VECTORS["bad_payloads"]:
        if "LENGTH in" not in vector["name"] and "~j~" not in vector["payload"]:
            with pytest.raises(ValueError, match=" at "):
                [*program["lenient_texts"](vector["payload"])]


def messages_in(payload: str) -> tuple[list[dict[str, Any]], str]:
    """The messages, as the vectors have them, and the error after them."""
    messages: list[dict[str, Any]] = []
    try:
        for frame in proto.parse(payload):
            match frame:
                case proto.Heartbeat(number):
                    messages.append({"heartbeat": number})
                case proto.TextMessage(text):
                    messages.append({"text": text})
                case proto.JSONMessage(value):
                    messages.append({"json": value})
    except ProtocolError as error:
        return messages, str(error)
    return messages, ""


def encoded(message: dict[str, Any]) -> str:
    [(kind, value)] = message.items()
    return proto.encode_heartbeat(value) if kind == "heartbeat" else proto.encode(value)


@pytest.mark.pure
def test_payloads() -> None:
    for vector in VECTORS["payloads"]:
        assert messages_in(vector["payload"]) == (vector["messages"], ""), vector
        sent = "".join(map(encoded, vector["messages"]))
        assert (sent == vector["payload"]) == vector["tornadio_sends"], vector
    for vector in VECTORS["bad_payloads"]:
        messages, error = messages_in(vector["payload"])
        assert messages == vector["messages"], vector
        assert error, vector


@pytest.mark.pure
def test_handshakes_and_websocket_messages() -> None:
    program: dict[str, Any] = {}
    exec(CHALLENGE, program)
    for vector in VECTORS["draft76"]:
        key3, response = vector["key3"].encode("latin-1"), vector["response"].encode("latin-1")
        assert program["response"](vector["key1"], vector["key2"], key3) == response
        numbers = [hixie.key_number(vector[key]) for key in ("key1", "key2")]
        assert numbers == [program["number"](vector[key]) for key in ("key1", "key2")]
        assert numbers == [vector["number1"], vector["number2"]]
        assert hixie.challenge_response(numbers[0], numbers[1], key3) == response
    made = [program["make_key"]() for _ in range(200)]
    assert all(hixie.key_number(key) == program["number"](key) and key.strip() == key for key in made)
    for vector in VECTORS["rfc6455"]:
        assert (
            rfc6455.handshake_headers({"Sec-WebSocket-Key": vector["key"]})["Sec-WebSocket-Accept"] == vector["accept"]
        )


async def test_bodies_and_paths(serve: Serve) -> None:
    served = serve(Echo)
    session_id, _ = await served.open("jsonp-polling")
    for vector in VECTORS["bodies"]:
        headers = {"Content-Type": vector["content_type"]} if vector["content_type"] else {}
        path = f"/socket.io/jsonp-polling/{session_id}/1290000000000/0"
        response = await served.request("POST", path, headers, vector["body"].encode())
        assert (response.status, response.text) == (200, "ok"), vector
        script = (await served.poll(session_id, "jsonp-polling")).text
        echoed = json.loads(script.removeprefix("io.JSONP[0]._(").removesuffix(");"))
        assert frames(echoed) == frames(vector["payload"]), vector
    for vector in VECTORS["bad_bodies"]:
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        path = f"/socket.io/jsonp-polling/{session_id}/send"
        assert (await served.request("POST", path, headers, vector["body"].encode())).status == 400, vector
    means = {200: "open", 401: "session", 400: "bad request", 404: "not found"}
    for vector in VECTORS["paths"]:
        assert means[(await served.request("GET", vector["path"])).status] == vector["means"], vector


@pytest.mark.pure
def test_scripts() -> None:
    for vector in VECTORS["scripts"]:
        if vector["transport"] == "htmlfile":
            parser = HTMLFileParser("text/html", 1 << 20)
            assert [*parser.feed(vector["script"].encode())] == [vector["payload"]]
        else:
            assert json.loads(vector["script"].partition("(")[2].removesuffix(");")) == vector["payload"]
