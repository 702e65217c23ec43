"""No packet, whatever is in it, takes the server down or leaves a trace of a failure in its log.

CVE-2022-21676, CVE-2022-41940, CVE-2023-31125 and CVE-2024-38355: one malformed packet raised an exception that nobody
caught, and the process ended, with everybody's connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.clients import ACCEPT, KEY3, KEYS, NONCE, UPGRADE, frame, greeted, request
from tests.internals import flash_port
from tests.support import FORM, ClientStream, Served, brief, fed, is_failure, limit
from tests.texts import PROTOCOL_TEXTS
from tornadio import proto
from tornadio.errors import ProtocolError
from tornadio.transports import bodies, forms
from tornadio.web import hosts, origins
from tornadio.web.flash import POLICY_REQUEST
from tornadio.websocket import hixie, rfc6455

SMALL = {"max_message_size": 990, "max_payload_size": 1000}
ENDINGS = ("close", "half-close", "reset")

BARE = {"Content-Type": "application/x-www-form-urlencoded"}  # browsers name no charset for a form
CHUNKED = {**FORM, "Transfer-Encoding": "chunked"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=XX"}
DISPOSITION = b'Content-Disposition: form-data; name="data"'
PART = b"--XX\r\n" + DISPOSITION + b"\r\n\r\n~m~1~m~x\r\n--XX--\r\n"

VERSION_13 = {**UPGRADE, **NONCE, "Sec-WebSocket-Version": "13"}
HYBI = request(VERSION_13)
DRAFT_76 = request({**UPGRADE, **KEYS, "Origin": "http://127.0.0.1"}) + KEY3
DRAFT_75 = request({**UPGRADE, "Origin": "http://127.0.0.1"})


def http(method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    given = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join([f"{method} {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in given.items())])
    return head.encode("latin-1") + b"\r\n" + body


def post(body: bytes, headers: dict[str, str] = FORM) -> bytes:
    """Of the session that the test has opened: its id takes the place of SESSION."""
    return http("POST", "/socket.io/xhr-polling/SESSION/send", headers, body)


def multipart(disposition: str, headers: dict[str, str] = MULTIPART) -> bytes:
    return post(f"--XX\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--XX--\r\n".encode("latin-1"), headers)


VALID = {
    "a handshake": HYBI,
    "a handshake and a message": HYBI + frame(1, b"~m~1~m~x"),
    "a handshake, fragments, pings and a close": (
        HYBI + frame(1, b"~m~", False) + frame(9, b"ping") + frame(0, b"1~m~x") + frame(8, b"\x03\xe8bye")
    ),
    "a handshake of draft-76 and a message": DRAFT_76 + b"\x00~m~1~m~x\xff\x80\x01x\xff\x00",
    "a handshake of draft-75 and a message": DRAFT_75 + b"\x00~m~1~m~x\xff",
    "a poll": http("GET", "/socket.io/xhr-polling//1290000000000"),
    "a poll of JSONP": http("GET", "/socket.io/jsonp-polling//1290000000000/0", {"Referer": "http://127.0.0.1/"}),
    "a stream": http("GET", "/socket.io/htmlfile//1290000000000"),
    "a preflight": http("OPTIONS", "/socket.io/xhr-polling/SESSION/send", {"Origin": "http://127.0.0.1:8080"}),
    "a POST": post(b"data=~m~12~m~~j~%7B%22a%22%3A%22b%22%7D"),
    "a POST of a form": post(b"data=~m~3~m~a%0D%0Ab~m~1~m~x", BARE).replace(b"xhr", b"jsonp"),
    "a POST in parts": post(PART, MULTIPART),
    "a POST in chunks": post(b"", CHUNKED).replace(b"Content-Length: 0\r\n", b"") + b"d\r\ndata=~m~1~m~x\r\n0\r\n\r\n",
    "a policy request": POLICY_REQUEST,
}  # fmt: skip

HOSTILE = {
    "nothing of HTTP": b"\x00" * 1000 + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a request line alone": b"\r\n\r\n",
    "no version": b"GET /socket.io/xhr-polling/\r\n\r\n",
    "an absolute URL": http("GET", "http://[::1/socket.io/xhr-polling/"),
    "an URL of brackets": http("GET", "//[/socket.io/"),
    "a path that is not UTF-8": http("GET", "/socket.io/xhr-polling/%ff%fe/1"),
    "a path of NULs": http("GET", "/socket.io/%00/%00%00/"),
    "a path with a lone surrogate": http("GET", "/socket.io/xhr-polling/%ed%a0%80/1"),
    "a long path": http("GET", "/socket.io/xhr-polling/" + "/" * 60_000),
    "a query of escapes": http("GET", "/socket.io/xhr-polling//?" + "%" * 1000 + "&=&=;&"),
    "prototypes": http("GET", "/socket.io/__proto__/constructor/toString"),
    "an EIO of newer clients": http("GET", "/socket.io/?EIO=4&transport=polling&sid[]=__proto__"),
    "no Host": b"GET /socket.io/xhr-polling// HTTP/1.1\r\n\r\n",
    "a Host of brackets": http("GET", "/socket.io/xhr-polling//", {"Host": "[", "Origin": "http://["}),
    "an Origin of no port": http("GET", "/socket.io/xhr-polling//", {"Origin": "http://127.0.0.1:99999999"}),
    "an Origin of digits": http("GET", "/socket.io/xhr-polling//", {"Origin": "http://x:" + "9" * 10_000}),
    "a Referer of brackets": http("GET", "/socket.io/jsonp-polling//1/0", {"Referer": "http://]["}),
    "an index of a million digits": http("GET", "/socket.io/jsonp-polling//1/" + "9" * 60_000),
    "a Content-Length below zero": http("POST", "/socket.io/xhr-polling/SESSION/send", {"Content-Length": "-1"}),
    "a Content-Length of digits": http("POST", "/socket.io/htmlfile/SESSION/send", {"Content-Length": "9" * 10_000}),
    "a Content-Length of Arabic digits": http("POST", "/socket.io/htmlfile/x/send", {"Content-Length": "\xb2"}),
    "a chunk below zero": post(b"", CHUNKED).replace(b"Content-Length: 0\r\n", b"") + b"-1\r\n",
    "a chunk without end": post(b"", CHUNKED).replace(b"Content-Length: 0\r\n", b"") + b"f" * 100_000,
    "a length and chunks": post(b"data=~m~1~m~x", CHUNKED),
    "a Content-Type of no charset": post(b"data=~m~1~m~x", {"Content-Type": "text/plain; charset=undefined"}),
    "a compressed body": post(b"\x1f\x8b\x08\x00junk", {**FORM, "Content-Encoding": "gzip"}),
    "no field": post(b""),
    "two fields": post(b"data=~m~1~m~x&data=~m~1~m~x"),
    "half an escape": post(b"data=%"),
    "escapes that are none": post(b"data=%zz%%%u0041"),
    "bytes that are not UTF-8": post(b"data=\xff\xfe%ed%a0%80"),
    "frames that are none": post(b"data=~m~-1~m~x"),
    "a frame cut short": post(b"data=~m~5~m~x"),
    "half a character": post("data=~m~1~m~😀".encode()),
    "JSON that is none": post(b"data=~m~4~m~~j~{"),
    "a heartbeat that is none": post(b"data=~m~6~m~~h~NaN"),
    "parts without a boundary": post(PART, {"Content-Type": "multipart/form-data"}),
    "parts of another boundary": post(PART, {"Content-Type": "multipart/form-data; boundary=YY"}),
    "parts of an empty boundary": post(PART, {"Content-Type": "multipart/form-data; boundary="}),
    "parts of a boundary of bytes": post(PART, {"Content-Type": "multipart/form-data; boundary*=undefined''\xff"}),
    "a part without a name": multipart("form-data"),
    "a part with a name in no charset": multipart("form-data; name*=undefined''x"),
    "a part with a file in IDNA": multipart("form-data; name=\"data\"; filename*=idna''%ff.x"),
    "a part with a million pieces": multipart('form-data; name="data"; filename*' + "9" * 5000 + "=x"),
    "a part in base64": post(PART.replace(b"\r\n\r\n~", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n~"), MULTIPART),
    "many parts": post(b"--XX\r\n" * 1000 + b"--XX--", MULTIPART),
    "a key that is none": request({**UPGRADE, "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "\xff"}),
    "a version that is none": request({**UPGRADE, **NONCE, "Sec-WebSocket-Version": "9" * 10_000}),
    "keys without a space": request({**UPGRADE, "Sec-WebSocket-Key1": "1", "Sec-WebSocket-Key2": "2"}) + KEY3,
    "keys without a digit": request({**UPGRADE, "Sec-WebSocket-Key1": "x x", "Sec-WebSocket-Key2": "x x"}) + KEY3,
    "keys of superscript digits": request({**UPGRADE, "Sec-WebSocket-Key1": "\xb2 \xb2", "Sec-WebSocket-Key2": "1 0"}),
    "keys of many digits": request({**UPGRADE, "Sec-WebSocket-Key1": "9" * 9000 + " 0", "Sec-WebSocket-Key2": "1 0"}),
    "one key": request({**UPGRADE, "Sec-WebSocket-Key1": "1 0"}) + KEY3,
    "half of key3": DRAFT_76[:-4],
    "an Origin of draft-76": request({**UPGRADE, **KEYS, "Origin": "\xff"}) + KEY3,
    "a subprotocol of bytes": request({**UPGRADE, "WebSocket-Protocol": "\xff\x80"}),
    "an extension": request({**VERSION_13, "Sec-WebSocket-Extensions": ";;,=\xff"}),
    "a frame without a mask": HYBI + b"\x81\x01x",
    "reserved bits": HYBI + b"\xf1\x81\x00\x00\x00\x00x",
    "reserved opcodes": HYBI + b"\x83\x80\x00\x00\x00\x00",
    "a length below zero": HYBI + b"\x81\xff" + b"\xff" * 8 + bytes(4),
    "a length of 2^63": HYBI + b"\x81\xff" + (1 << 63).to_bytes(8, "big") + bytes(4),
    "a length of zero in eight bytes": HYBI + b"\x81\xff" + bytes(12),
    "a long ping": HYBI + b"\x89\xfe\x00\x7e" + bytes(130),
    "a ping in pieces": HYBI + frame(9, b"x", final=False),
    "a close of one byte": HYBI + frame(8, b"\x03"),
    "a close of no code": HYBI + frame(8, b"\x00\x00"),
    "a close that is not UTF-8": HYBI + frame(8, b"\x03\xe8\xff"),
    "two closes": HYBI + frame(8, b"\x03\xe8") * 2,
    "a message behind the close": HYBI + frame(8, b"") + frame(1, b"~m~1~m~x"),
    "a continuation of nothing": HYBI + frame(0, b"x"),
    "a message in a message": HYBI + frame(1, b"x", final=False) + frame(1, b"x"),
    "a text that is not UTF-8": HYBI + frame(1, b"\xed\xa0\x80"),
    "a binary message": HYBI + frame(2, b"~m~1~m~x"),
    "a message of no frames": HYBI + frame(1, b"5::{}"),
    "a message of newer clients": HYBI + frame(1, b'2["__proto__",{"_placeholder":true,"num":10000}]'),
    "an attachment that never comes": HYBI + frame(1, b'451-["x",{"_placeholder":true,"num":"splice"}]'),
    "a message too large": HYBI + frame(1, b"x" * 1001),
    "an unknown type of draft-76": DRAFT_76 + b"\x7f",
    "a length without end": DRAFT_76 + b"\x80" + b"\xff" * 100,
    "a text of draft-76 that is not UTF-8": DRAFT_76 + b"\x00\xfe\xff",
    "a closing frame twice": DRAFT_75 + b"\xff\x00\xff\x00",
    "another policy": b"<policy-file-request/>x",
    "half a policy request": b"<policy",
    "a policy request and more": POLICY_REQUEST * 100,
}  # fmt: skip


async def with_session(served: Served, packet: bytes) -> bytes:
    """The packet with the id of a session of its transport."""
    if b"SESSION" not in packet:
        return packet
    transport = next((each for each in ("jsonp-polling", "htmlfile") if each.encode() in packet), "xhr-polling")
    return packet.replace(b"SESSION", (await served.start(transport)).encode())


async def provoke(served: Served, packet: bytes, ending: str) -> None:
    """Send a packet, and leave when the server has seen it."""
    wire = await served.connect()
    with contextlib.suppress(ConnectionError):
        await wire.send(await with_session(served, packet))
        if ending == "half-close":
            wire.writer.write_eof()
            await first_of(wire)
        else:
            await served.barrier()
    with contextlib.suppress(OSError):  # it is closed already
        if ending == "reset":
            wire.reset()
    await wire.aclose()
    served.wires.remove(wire)


async def first_of(wire: ClientStream) -> bytes:
    """What comes first: there may be more, and a stream has no end."""
    async with limit():
        with contextlib.suppress(ConnectionError):
            return await wire.reader.read(1 << 16)
    return b""


async def assert_that_all_is_well(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """The next client is served, over a WebSocket and by polling, and nothing is told of a failure."""
    client = await greeted(served)
    await client.send("hello")
    assert await client.receive() == ["hello"]
    await client.leave()
    session_id, _ = await served.open()
    assert (await served.post(session_id, "hello")).text == "ok"
    assert (await served.poll(session_id)).text == proto.encode("hello")
    assert [record.getMessage() for record in caplog.records if is_failure(record)] == []


# -- Packets made by hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*VALID, *HOSTILE])
async def test_after_any_packet_the_next_client_is_served(serve, caplog, kind):
    served = serve(settings=SMALL)
    for ending in ENDINGS:
        await provoke(served, (VALID | HOSTILE)[kind], ending)
        await assert_that_all_is_well(served, caplog)


@pytest.mark.parametrize("kind", VALID)
async def test_what_is_mutated_below_is_answered_as_it_is(serve, kind):
    served = serve(settings=SMALL)
    wire = await served.connect()
    await wire.send(await with_session(served, VALID[kind]))
    answer = await first_of(wire)
    if VALID[kind].startswith(b"<"):
        assert answer.startswith(b"<?xml")
    else:
        assert re.match(rb"HTTP/1\.1 (200|204|101) ", answer)
    if kind.startswith("a handshake") and VALID[kind].startswith(HYBI):
        assert ACCEPT in answer


# -- Packets made by chance --------------------------------------------------------------------------------------------


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A valid packet with some of its bytes changed, missing, doubled or moved."""
    packet = bytearray(
        draw(st.sampled_from([*VALID.values(), *HOSTILE.values()]).filter(lambda data: len(data) < 5000))
    )
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(packet)))
        end = draw(st.integers(start, min(len(packet), start + 40)))
        packet[start:end] = draw(
            st.binary(max_size=4)
            | st.sampled_from([b"", b"\r\n", b"\r\n\r\n", b"\x00", b"\xff", b"~m~", b"%", b"/", b"9" * 30, b"\x80" * 9])
            | st.just(bytes(packet[start:end]) * 2)
        )
    return bytes(packet)


@pytest.mark.parametrize("packets", [mutations(), st.binary(max_size=200)], ids=["mutations", "bytes"])
async def test_after_whatever_packet_the_next_client_is_served(serve, caplog, packets):
    served = serve(settings=SMALL)
    loop = asyncio.get_running_loop()

    # To find a shorter example would take minutes, and these are short.
    @settings(max_examples=100, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(packets, st.sampled_from(ENDINGS)), min_size=5, max_size=5))
    def attack(some: list[tuple[bytes, str]]) -> None:
        asyncio.run_coroutine_threadsafe(attack_with(some), loop).result()

    async def attack_with(some: list[tuple[bytes, str]]) -> None:
        caplog.clear()
        for packet, ending in some:
            await provoke(served, packet, ending)
        await assert_that_all_is_well(served, caplog)

    await asyncio.to_thread(attack)


# -- Codec and framings ------------------------------------------------------------------------------------------------

LIMIT = 100
TEXTS = st.text() | st.text(st.sampled_from("0123456789 +/=@:[]%.\x00\xb2\xffhtpsnul")) | PROTOCOL_TEXTS


def parse_policy_of(text: str) -> None:
    origins.OriginRule(None).allows(text, text)
    origins.OriginRule(["example.com:*"]).refusal({"Referer": text, "Sec-Fetch-Site": text}, text, True)
    hosts.HostRule(None, text).allows_name(text)
    hosts.HostRule([text], "").allows_client(text, text)


PARSERS: dict[str, Callable[[str], object]] = {
    "proto.decode": proto.decode,
    "form_frames": lambda text: list(forms.decode_form_frames(text)),
    "key_number": hixie.key_number,
    "handshake_headers": lambda text: rfc6455.handshake_headers({"Sec-WebSocket-Key": text}),
    "parse_origin": origins.parse_origin,
    "host_of": origins.host_of,
    "OriginRule": parse_policy_of,
}


@pytest.mark.parametrize("parser", PARSERS)
@given(text=TEXTS)
@example(text="http://[")
@example(text="\ud800")
@example(text="9" * 5000 + " ")
@example(text="~m~8~m~~j~[[[[[")
def test_a_parser_of_text_raises_protocol_errors_alone(parser, text):
    with contextlib.suppress(ProtocolError):
        PARSERS[parser](text)


CONTENT_TYPES = st.sampled_from(
    ["", *FORM.values(), *MULTIPART.values(), "multipart/form-data; boundary*0*=x''X; boundary*1=X"]
) | st.text(st.characters(max_codepoint=255)).map("multipart/form-data; boundary=".__add__)
BODIES = st.binary() | st.lists(
    st.sampled_from([b"data=", b"&", b"%", b"%7e", b"+", b"~m~", b"--XX", b"--", b"\r\n", DISPOSITION])
    | st.binary(max_size=3)
).map(b"".join)  # fmt: skip


@given(BODIES, CONTENT_TYPES)
def test_a_body_is_a_payload_within_the_limit_or_a_protocol_error(body, content_type):
    with contextlib.suppress(ProtocolError):
        assert len(bodies.parse_post_body(body, content_type, LIMIT).encode()) <= LIMIT


STREAMS = {
    "RFC 6455": st.lists(
        st.builds(frame, st.sampled_from([0, 1, 1, 2, 8, 9, 10, 3]), st.binary(max_size=130), st.booleans())
        | st.binary(max_size=8)
    ).map(b"".join),
    "draft-76": st.lists(
        st.text().map(lambda text: b"\x00" + text.encode() + b"\xff")
        | st.binary(max_size=8)
        | st.sampled_from([b"\x80\x01x", b"\xff\x00", b"\x80\x80", b"\xff\xff"])
    ).map(b"".join),
}
FRAMERS: dict[str, Callable[[], rfc6455.Framer | hixie.Framer]] = {
    "RFC 6455": lambda: rfc6455.Framer(LIMIT),
    "draft-76": lambda: hixie.Framer(LIMIT),
}


@pytest.mark.parametrize("kind", FRAMERS)
@given(data=st.data())
def test_a_framer_says_the_same_of_whatever_comes_however_it_is_cut(kind, data):
    stream = data.draw(STREAMS[kind])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    outcomes = []
    for pieces in (
        [stream],
        [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)],
        [stream[index : index + 1] for index in range(len(stream))],
    ):
        framer = FRAMERS[kind]()
        messages = [message for piece in pieces for message in fed(framer, piece)]
        outcomes.append((messages, framer.closed, str(framer.error), framer.error and framer.error.close_code))
    assert outcomes[0] == outcomes[1] == outcomes[2]


@pytest.mark.parametrize("packet", [b"", b"\x00", POLICY_REQUEST[:-1] + b"x", POLICY_REQUEST * 3], ids=brief)
async def test_the_policy_server_outlives_whatever_it_is_asked(serve, caplog, packet):
    served = serve(application={"flash_policy_port": 0})
    port = flash_port(served.server)
    for sent, answered in ((packet, packet.startswith(POLICY_REQUEST)), (POLICY_REQUEST, True)):
        wire = await ClientStream.connect(port)
        await wire.send(sent)
        wire.writer.write_eof()
        assert (await wire.read_to_end()).startswith(b"<?xml") == answered
        await wire.aclose()
    assert [record.getMessage() for record in caplog.records if is_failure(record)] == []
