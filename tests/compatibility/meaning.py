"""What the bytes of a recorded connection mean to a 0.6 client, whichever server has sent them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final

import simplejson

_REQUEST: Final = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r\n")
_PART: Final = re.compile(
    r"Content-Type: text/plain(?:; charset=\S+)?\n\n(.*?)\n--socketio(?:-[0-9a-f]+)?\n", re.DOTALL
)
# The original's has a bracket in a wrong place; one sees what was meant.
_SCRIPT: Final = re.compile(
    r'<script>parent\.s(?:\._\(("(?:[^"\\]|\\.)*"), |_\(("(?:[^"\\]|\\.)*")\),)document\);</script>'
)
_JSONP: Final = re.compile(r'io\.JSONP\[(\d+)\]\._\(("(?:[^"\\]|\\.)*")\);')
_TRANSPORT: Final = re.compile(rb"GET /\S*/(?:xhr-multipart|xhr-polling|jsonp-polling|htmlfile)/")
_CHUNK: Final = re.compile(rb"[0-9a-fA-F]+\r\n|$")
_FOREVER_FRAME: Final = b"<html><body>" + b" " * 100
_SESSION_ID: Final = re.compile(r"[0-9]{13,20}|[0-9a-f]{32}|no_session")


@dataclasses.dataclass
class Conversation:
    """One TCP connection: what was asked, and what came."""

    requests: list[bytes] = dataclasses.field(default_factory=list)
    received: bytes = b""
    ended: bool = False  # by the server
    flaws: set[str] = dataclasses.field(default_factory=set)  # of how the answers are wrapped up

    def ask(self, data: bytes) -> None:
        if _REQUEST.match(data) or not self.requests:
            self.requests.append(data)
        else:
            self.requests[-1] += data

    def events(self) -> list[str]:
        """What the client learns from it, in order. More bytes only ever add to it."""
        return list(_responses(self))


def _responses(conversation: Conversation) -> Iterator[str]:
    rest = conversation.received
    for request in conversation.requests:
        if request.startswith(b"<policy-file-request/>"):
            if rest.endswith(b"</cross-domain-policy>\0"):
                yield "policy file"
            if conversation.ended:
                yield "closed"
            return
        head, found, rest = rest.partition(b"\r\n\r\n")
        if not found:
            if conversation.ended:
                yield "closed without a byte" if not head else "cut off"
            return
        status, headers = _parse_head(head)
        if status == 101:
            yield from _websocket(request, headers, rest, conversation.ended)
            return
        conversation.flaws |= set(_flaws(request, status, headers, rest))
        body, rest, whole = _split_body(request, status, headers, rest, conversation.ended)
        if headers.get("content-type", "").startswith("multipart/x-mixed-replace") or body.startswith(_FOREVER_FRAME):
            yield "stream"
            for payload in _stream(body):
                yield from frames(payload)
            if whole or conversation.ended:
                yield "end of stream"
        elif whole:
            yield _answer(status, headers, body, request)
        elif conversation.ended:
            yield "cut off"
        if not whole:
            return


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in fields}


def _flaws(request: bytes, status: int, headers: dict[str, str], rest: bytes) -> Iterator[str]:
    if status != 200 or _TRANSPORT.match(request) is None:
        return
    if headers.get("transfer-encoding") == "chunked" and _CHUNK.match(rest) is None:
        yield "chunks that are none"
    if "etag" in headers:
        yield "an ETag"
    if "no-store" not in headers.get("cache-control", ""):
        yield "nothing against caches"
    if b"\r\nOrigin: " in request and "access-control-allow-origin" not in headers:
        yield "not for other origins"
    if 'boundary="socketio"' in headers.get("content-type", ""):
        yield "a boundary that a message can forge"
    if "charset" in headers.get("content-type", "").partition("boundary=")[2]:
        yield "a malformed boundary"
    if b"<script>parent.s_(" in rest:
        yield "a script with a syntax error"


def _split_body(
    request: bytes, status: int, headers: dict[str, str], rest: bytes, ended: bool
) -> tuple[bytes, bytes, bool]:
    """The body, what stands behind it, and whether it is whole."""
    if request.startswith(b"HEAD") or status in (204, 304):
        return b"", rest, True
    if "content-length" in headers:
        size = int(headers["content-length"])
        return rest[:size], rest[size:], len(rest) >= size
    if headers.get("transfer-encoding") == "chunked" and _CHUNK.match(rest):
        return _dechunk(rest)
    return rest, b"", ended


def _dechunk(rest: bytes) -> tuple[bytes, bytes, bool]:
    body = b""
    while True:
        line, found, after = rest.partition(b"\r\n")
        size = int(line, 16) if found else 0
        if not found or len(after) < size + 2:
            return body, b"", False
        body, rest = body + after[:size], after[size + 2 :]
        if size == 0:
            return body, rest, True


def _stream(body: bytes) -> Iterator[str]:
    text = body.decode("utf-8", "replace")
    for part in _PART.finditer(text):
        yield part[1]
    for script in _SCRIPT.finditer(text):
        yield simplejson.loads(script[1] or script[2])


def _answer(status: int, headers: dict[str, str], body: bytes, request: bytes) -> str:
    if status != 200 or request.startswith(b"OPTIONS"):
        return str(status)
    text = body.decode("utf-8", "replace")
    script = _JSONP.fullmatch(text)
    if script is not None:
        wrong = "" if re.search(rf"/{script[1]}/? HTTP".encode(), request) else f"for {script[1]} "
        return wrong + _list(frames(simplejson.loads(script[2])))
    if text.startswith("~m~") or (not text and request.startswith(b"GET")):
        return _list(frames(text))
    return f"200 {text}".strip() if len(text) < 10 else "200 with a text"


def _list(items: list[str]) -> str:
    return "[" + ", ".join(items) + "]"


def frames(payload: str) -> list[str]:
    """The messages in a payload as a client reads them: LEN counts UTF-16 code units."""
    units = payload.encode("utf-16-le", "surrogatepass")
    messages = []
    position = 0
    while position < len(units):
        rest = units[position:].decode("utf-16-le", "replace")
        header = re.match(r"~m~([0-9]+)~m~", rest)
        if header is None:
            messages.append("lost: " + rest)
            break
        start = position + 2 * header.end()
        position = start + 2 * int(header[1])
        messages.append(_message(units[start:position].decode("utf-16-le", "replace")))
    return messages


def _message(text: str) -> str:
    if _SESSION_ID.fullmatch(text):
        return "ID"
    if text.startswith("~h~"):
        return text
    if text.startswith("~j~"):
        try:
            value: Any = simplejson.loads(text[3:])
        except ValueError:
            return f"bad JSON {text[3:]}"
        return "json " + simplejson.dumps(value, ensure_ascii=False, sort_keys=True)
    return simplejson.dumps(text, ensure_ascii=False)


# WebSocket


def _websocket(request: bytes, headers: dict[str, str], rest: bytes, ended: bool) -> Iterator[str]:
    yield "WebSocket"
    asked = _parse_head(b"GET 0\r\n" + request.partition(b"\r\n\r\n")[0].partition(b"\r\n")[2])[1]
    if "sec-websocket-key" in asked:
        expected = hashlib.sha1(asked["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        if headers.get("sec-websocket-accept") != base64.b64encode(expected).decode():
            yield "wrong digest"
        yield from _hybi_frames(rest)
    else:
        if "sec-websocket-key1" in asked:
            if len(rest) < 16:
                if ended:
                    yield "cut off"
                return
            if rest[:16] != b"8jKS'y:G*Co,Wxa-":
                yield "wrong digest"
            rest = rest[16:]
        yield from _hixie_frames(rest)
    if ended:
        yield "closed"


def _hixie_frames(rest: bytes) -> Iterator[str]:
    while rest:
        if rest.startswith(b"\xff\x00"):
            yield "closing frame"
            rest = rest[2:]
            continue
        text, found, rest = rest[1:].partition(b"\xff")
        if found:
            yield from frames(text.decode("utf-8", "replace"))


def _hybi_frames(rest: bytes) -> Iterator[str]:
    while len(rest) >= 2:
        opcode, size = rest[0] & 15, rest[1]
        start = 2
        if size == 126:
            size, start = int.from_bytes(rest[2:4], "big"), 4
        data = rest[start : start + size]
        if len(rest) < start + size:
            return
        rest = rest[start + size :]
        if opcode == 8:
            yield f"closing frame {int.from_bytes(data[:2], 'big') or ''}".strip()
        elif opcode == 10:
            yield "pong"
        else:
            yield from frames(data.decode("utf-8", "replace"))
