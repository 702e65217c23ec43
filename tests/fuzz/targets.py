"""What must hold for the codec and the framings whatever bytes come, as functions of those bytes.

The fuzzer searches for bytes that break it; a test replays the fuzzer's corpus.
"""

from __future__ import annotations

import contextlib
import itertools
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, Final

import h11
import simplejson
from tornado.httputil import HTTPHeaders, HTTPServerRequest, parse_request_start_line

from tests.internals import held_by
from tests.support import fed
from tornadio import proto
from tornadio.errors import EncodeError, PeerError, ProtocolError, SettingsError, TooLargeError
from tornadio.framing import split_frames
from tornadio.settings import Compression
from tornadio.transports import bodies, forms
from tornadio.web.fastparse import SimpleRequest, parse_simple_request
from tornadio.web.origins import Origin, OriginRule, host_of, parse_origin
from tornadio.websocket import hixie, rfc6455
from tornadio.websocket.deflate import accept_offer, check_response

Framer = rfc6455.Framer | hixie.Framer
Outcome = tuple[list[Any], str | None]

LIMIT: Final = 64
# What a framer may hold back of frames that are not whole: a text with its first byte in draft-76, a control frame with
# its header in RFC 6455, but for one byte that would make it whole.
MAX_HELD: Final = {hixie.Framer: LIMIT + 1, rfc6455.Framer: 6 + 125 - 1}
MAX_REASON: Final = 500
CONTENT_TYPES: Final = (
    "",
    "text/plain; charset=UTF-8",
    "application/x-www-form-urlencoded; charset=utf-8",
    "multipart/form-data; boundary=XX",
)


def run(data: bytes) -> None:
    """The first byte chooses a target, the rest is its input.

    :raises AssertionError: something doesn't hold. So says any other exception.
    """
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def text_of(data: bytes) -> str:
    """Bytes as a text, lone surrogates and all."""
    return data.decode("utf-8", "surrogatepass") if is_text(data) else data.decode("latin-1")


def is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def arriving(text: str) -> str:
    """A text as it arrives: each lone surrogate is a replacement character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def outcome(results: Iterator[Any]) -> Outcome:
    """What came out, and the error that ended it. No error but the peer's gets by."""
    found: list[Any] = []
    try:
        found.extend(results)
    except ProtocolError as error:
        return found, reason_of(error)
    return found, None


def reason_of(error: PeerError) -> str:
    """What the peer is told, and the log."""
    reason = str(error)
    reason.encode("utf-8")
    assert len(reason) <= MAX_REASON
    assert (error.http_status, error.close_code) in ((400, 1007), (400, 1002), (413, 1009))
    return reason


# -- Codec -------------------------------------------------------------------------------------------------------------


def check_frames(data: bytes) -> None:
    """A payload is frames or an error behind the good ones; what it holds makes the round trip."""
    payload = text_of(data)
    messages, error = outcome(proto.iter_decode(payload))
    texts, _ = outcome(split_frames(payload))
    assert len(messages) <= len(texts)
    if error is None:
        assert proto.decode(payload) == messages
        assert len(messages) == len(texts)
    assert outcome(frame[0] for frame in proto.parse(payload)) == ([message for _, message in messages], error)
    plain, plain_error = outcome(proto.iter_decode(payload, json="plain"))
    assert plain_error == error
    for (_, message), (_, other) in zip(messages, plain, strict=True):
        assert message == other or isinstance(other, dict | list)
    for text in texts:
        assert proto.decode(proto.encode(text)) == [(proto.FRAME, arriving(text))]
    for kind, message in messages:
        assert kind in (proto.FRAME, proto.HEARTBEAT)
        if arriving(payload) == payload:
            assert_is_whole(message)
        with contextlib.suppress(EncodeError):  # it may be just deep enough for one of the two
            expected = arriving(message) if isinstance(message, str) else message
            assert proto.decode(proto.encode((expected,))) == [(proto.FRAME, [expected])]


def assert_is_whole(message: Any) -> None:
    """No escape has made half a character of what was none."""
    with contextlib.suppress(RecursionError):  # it may be just deep enough for one of the two
        simplejson.dumps(message, ensure_ascii=False).encode("utf-8")


def check_json(data: bytes) -> None:
    """The same for the text of a frame that says to be JSON, whatever its length."""
    text = proto.JSON + text_of(data)
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    check_frames(f"{proto.FRAME}{units}{proto.FRAME}{text}".encode("utf-8", "surrogatepass"))


def check_encode(data: bytes) -> None:
    """Texts and bytes arrive as what they are; bytes that are no text are the caller's error."""
    text = text_of(data)
    assert proto.decode(proto.encode([text, [text]])) == [(proto.FRAME, arriving(text))] * 2
    try:
        frames = proto.encode(data)
    except EncodeError:
        return
    assert proto.decode(frames) == [(proto.FRAME, data.decode("utf-8"))]


# -- Forms -------------------------------------------------------------------------------------------------------------


def check_body(data: bytes) -> None:
    """A POST's body is a payload within the limit or an error, in one piece or in several. The first byte chooses the
    content type.
    """
    content_type, body = CONTENT_TYPES[data[0] % len(CONTENT_TYPES)] if data else "", data[1:]
    payload, error = payload_of([body], content_type)
    assert len(payload.encode("utf-8")) <= LIMIT
    for size in (1, 7, len(body) // 2 + 1):
        cut = [body[start : start + size] for start in range(0, len(body), size)]
        assert payload_of(cut, content_type) == (payload, error)
    with contextlib.suppress(ProtocolError):
        assert bodies.parse_post_body(body, content_type, LIMIT) == payload
    encoded = b"data=" + urllib.parse.quote(body, safe="~!*()'").encode()
    expected = TooLargeError if len(body) > LIMIT else None if is_utf8(body) else ProtocolError
    try:
        payload = bodies.parse_post_body(encoded, CONTENT_TYPES[2], LIMIT)
    except ProtocolError as error:
        if type(error) is not expected:
            raise AssertionError from error
    else:
        assert (payload.encode("utf-8"), expected) == (body, None)


def payload_of(body: list[bytes], content_type: str) -> tuple[str, str | None]:
    """The payload in the pieces of a body, or what is wrong with it."""
    decoder = bodies.make_decoder(content_type, LIMIT)
    try:
        for piece in body:
            decoder.feed(piece)
        return decoder.finish(), None
    except ProtocolError as error:
        return "", str(error)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def check_content_type(data: bytes) -> None:
    """A header is latin-1; behind its line stands a body."""
    header, _, body = data.partition(b"\n")
    content_type = "multipart/form-data" + header.decode("latin-1")
    with contextlib.suppress(ProtocolError):
        assert len(bodies.parse_post_body(body, content_type, LIMIT).encode("utf-8")) <= LIMIT


def check_form_frames(data: bytes) -> None:
    """What a form has carried is frames or an error; texts without CR come through it as they are."""
    payload = text_of(data)
    messages, _ = outcome(forms.decode_form_frames(payload))
    if "\r\n" not in payload:
        assert messages == outcome(proto.iter_decode(payload))[0]
    texts = arriving(payload).replace("\r", "").split("\0")
    carried = proto.encode(texts).replace("\n", "\r\n")
    assert outcome(forms.decode_form_frames(carried)) == ([(proto.FRAME, text) for text in texts], None)


# -- Framings ----------------------------------------------------------------------------------------------------------


def pieces(data: bytes, sizes: bytes) -> Iterator[bytes]:
    """Cut `data` into pieces of these sizes, over and over; none is empty."""
    position = 0
    for size in itertools.cycle(sizes or b"\1"):
        if position >= len(data):
            return
        yield data[position : position + (size or 1)]
        position += size or 1


def feed(framer: Framer, parts: Iterator[bytes]) -> tuple[list[str | bytes], str | None, bool, bytes]:
    """What a framer makes of bytes: messages, error, whether it has closed, and what the peer is owed."""
    messages: list[str | bytes] = []
    owed = b""
    for part in parts:
        new = fed(framer, part)
        assert all(len(message.encode("utf-8") if isinstance(message, str) else message) <= LIMIT for message in new)
        assert held_by(framer) <= MAX_HELD[type(framer)]
        messages += new
        owed += framer.data_to_send()
    return messages, reason_of(framer.error) if framer.error else None, framer.closed, owed


def check_framer(framer: Callable[[int], Framer], data: bytes) -> None:
    """However the bytes are cut, they are the same messages and the same end. The first bytes are sizes of pieces."""
    sizes, stream = data[:4], data[4:]
    whole = feed(framer(LIMIT), iter([stream]))
    assert feed(framer(LIMIT), pieces(stream, sizes)) == whole
    assert feed(framer(LIMIT), pieces(stream, b"\1")) == whole
    messages, error, closed, _ = whole
    assert closed or error is None
    replay = framer(LIMIT)
    for message in messages:
        assert replay.feed(as_a_client(framer, replay.encode(message))) == [message]
    if closed:
        ended = framer(LIMIT)
        fed(ended, stream)
        assert ended.feed(b"\x00more\xff") == []
        assert (ended.data_to_send() + ended.close(1002, error or "")) != b""
        assert ended.data_to_send() + ended.close(1002, error or "") == b""


def as_a_client(framer: Callable[[int], Framer], frame: bytes) -> bytes:
    """A frame of the server's as if it came from a client: where clients mask, with a mask of zeros."""
    if framer is hixie.Framer:
        return frame
    size = 2 + {126: 2, 127: 8}.get(frame[1], 0)
    return bytes([frame[0], frame[1] | 0x80]) + frame[2:size] + bytes(4) + frame[size:]


def check_rfc6455(data: bytes) -> None:
    check_framer(rfc6455.Framer, data)


def check_hixie(data: bytes) -> None:
    check_framer(hixie.Framer, data)


def check_compressed(data: bytes) -> None:
    """The same with permessage-deflate. The first byte chooses whether both sides keep their contexts."""
    compression = Compression(threshold=0, context_takeover=data[:1] > b"\x7f")

    def framer(max_payload_size: int) -> rfc6455.Framer:
        accepted = accept_offer("permessage-deflate", compression)
        assert accepted is not None
        return rfc6455.Framer(max_payload_size, accepted[0])

    check_framer(framer, data[1:])


def check_offers(data: bytes) -> None:
    """What is accepted of a header is something that a client takes that has offered it. The first byte is a flag."""
    compression = Compression(context_takeover=data[:1] > b"\x7f")
    accepted = accept_offer(data[1:].decode("latin-1"), compression)
    if accepted is not None:
        deflate, response = accepted
        assert check_response(response, Compression(context_takeover=True)) is not None
        assert deflate.compressor.compress(b"x" * 5000) is not None


def check_closing(data: bytes) -> None:
    """Whatever the reason, a close frame is one that a peer takes: whole, short, and text."""
    framer = rfc6455.Framer(LIMIT)
    frame = framer.close(1002, arriving(text_of(data)))
    assert frame[0] == 0x88
    assert frame[1] == len(frame) - 2 <= 125
    frame[4:].decode("utf-8")
    echo = rfc6455.Framer(LIMIT)
    assert echo.feed(as_a_client(rfc6455.Framer, frame)) == []
    assert (echo.closed, echo.error) == (True, None)


# -- Plain requests ----------------------------------------------------------------------------------------------------


def check_plain(data: bytes) -> None:
    """A plain request is whole, does not depend on what follows it; Tornado reads its head as the same, h11 all of it,
    and the next request begins behind it."""
    request = parse_simple_request(data)
    if request is None or request.total_bytes > len(data):
        return
    whole = data[: request.total_bytes]
    again = parse_simple_request(whole)
    assert again is not None
    assert (again.method, again.uri, dict(again.headers), again.body, again.total_bytes) == (
        *(request.method, request.uri, dict(request.headers), request.body),
        len(whole),
    )
    cut = parse_simple_request(whole[:-1])
    assert cut is None or (request.body and cut.total_bytes == len(whole))
    head = whole.removesuffix(request.body) if request.body else whole
    line, _, lines = head.decode("ascii").partition("\r\n")
    start_line, headers = parse_request_start_line(line), HTTPHeaders.parse(lines)
    assert start_line == (request.method, request.uri, "HTTP/1.1")
    assert {name.lower(): value for name, value in headers.get_all()} == dict(request.headers)
    assert len(request.body) == int(headers.get("Content-Length", "0"))
    assert HTTPServerRequest(start_line=start_line, headers=headers).host == request.headers["host"]
    check_with_h11(whole, request)


def check_with_h11(whole: bytes, request: SimpleRequest) -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(whole + whole)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (request.method.encode(), request.uri.encode())
    assert list(event.headers) == [(name.encode(), value.encode()) for name, value in request.headers.items()]
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert body == request.body
    assert connection.trailing_data == (whole, False)


# -- Handshakes --------------------------------------------------------------------------------------------------------


def check_keys(data: bytes) -> None:
    """A key is a number of 32 bits, or 16 bytes in base64, or an error."""
    key = data.decode("latin-1")
    with contextlib.suppress(ProtocolError):
        number = hixie.key_number(key)
        assert len(hixie.challenge_response(number, number, bytes(hixie.KEY3_LENGTH))) == 16
        assert number * key.count(" ") == int("".join(filter(str.isascii, filter(str.isdigit, key))))
    with contextlib.suppress(ProtocolError):
        headers = rfc6455.handshake_headers({"Sec-WebSocket-Key": key})
        assert len(key.strip()) == 24
        assert all(value.isascii() and value.isprintable() for value in headers.values())


def check_origins(data: bytes) -> None:
    """A header names an origin or none, and the rule admits no other host. A line is a host, the next an origin."""
    host, _, text = data.decode("latin-1").partition("\n")
    origin = parse_origin(text)
    default, listed = OriginRule(None), OriginRule(["example.com:80", "https://example.org"])
    if origin is None:
        assert not default.allows(text, host)
        assert not listed.allows(text, host)
        return
    name = origin.host.partition("%")[0]  # IPv6 zones have cases, and no browser sends one
    assert origin.host.startswith(name.lower())
    assert 0 < origin.port < 1 << 16
    assert default.allows(text, host) == (origin.host == host_of(host))
    assert listed.allows(text, host) == (
        (origin.host, origin.port) == ("example.com", 80) or origin == Origin("https", "example.org", 443)
    )
    name = f"[{origin.host}]" if ":" in origin.host else origin.host
    assert parse_origin(f"{origin.scheme}://{name}:{origin.port}") == origin
    with contextlib.suppress(SettingsError):
        assert OriginRule([text]).allows(text, "")


TARGETS: Final[tuple[Callable[[bytes], None], ...]] = (
    check_frames,
    check_json,
    check_encode,
    check_body,
    check_content_type,
    check_form_frames,
    check_rfc6455,
    check_hixie,
    check_closing,
    check_keys,
    check_origins,
    check_plain,
    check_compressed,
    check_offers,
)
