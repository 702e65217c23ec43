"""A request of each kind that is refused with a line in the log."""

from __future__ import annotations

from tests.clients import KEY3, NONCE, UPGRADE
from tests.support import BARE_FORM

LONG = 60_000
VERSION_13 = {**UPGRADE, **NONCE, "Sec-WebSocket-Version": "13"}

REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "a path of newer clients": ("GET", "/socket.io/1/", {}, b""),
    "a query of newer clients": ("GET", "/socket.io/?EIO=4&transport=polling", {}, b""),
    "a long path of newer clients": ("GET", "/socket.io/1/" + "x" * LONG, {}, b""),
    "a path of nobody's": ("GET", "/socket.io/nonsense/", {}, b""),
    "a long path": ("GET", "/socket.io/nonsense/" + "x" * LONG, {}, b""),
    "a long path outside of the resource": ("GET", "/" + "x" * LONG, {}, b""),
    "a long query": ("GET", "/socket.io/nonsense?" + "x" * LONG, {}, b""),
    "an origin": ("GET", "/socket.io/xhr-polling//1", {"Origin": "http://evil.example"}, b""),
    "a long origin": ("GET", "/socket.io/xhr-polling//1", {"Origin": "http://" + "x" * LONG}, b""),
    "an origin of JSONP": ("GET", "/socket.io/jsonp-polling//1/0", {"Referer": "http://evil.example/"}, b""),
    "a preflight's origin": ("OPTIONS", "/socket.io/xhr-polling/x/send", {"Origin": "http://evil.example"}, b""),
    "an unknown session": ("GET", "/socket.io/xhr-polling/0123456789/1", {}, b""),
    "a long session id": ("GET", f"/socket.io/xhr-polling/{'x' * LONG}/1", {}, b""),
    "a session id that is not UTF-8": ("GET", "/socket.io/xhr-polling/%ff/1", {}, b""),
    "a long session id that is not UTF-8": ("GET", f"/socket.io/xhr-polling/%ff{'x' * LONG}/1", {}, b""),
    "no index": ("GET", "/socket.io/jsonp-polling//1/alert(1)", {}, b""),
    "a POST without a session": ("POST", "/socket.io/xhr-polling//send", BARE_FORM, b"data="),
    "a POST to an unknown session": ("POST", "/socket.io/xhr-polling/0123456789/send", BARE_FORM, b"data="),
    "an unknown method": ("BREW", "/socket.io/xhr-polling//1", {}, b""),
    "a long method": ("X" * LONG, "/socket.io/xhr-polling//1", {}, b""),
    "frames that are none": ("POST", "/socket.io/htmlfile/{session_id}/send", BARE_FORM, b"data=nonsense"),
    "JSON that is none": ("POST", "/socket.io/htmlfile/{session_id}/send", BARE_FORM, b"data=~m~5~m~~j~{x"),
    "a form that is none": (
        "POST",
        "/socket.io/htmlfile/{session_id}/send",
        {"Content-Type": "multipart/form-data"},
        b"x",
    ),
    "a body too large": ("POST", "/socket.io/htmlfile/x/send", {"Content-Length": "1" + "0" * 12}, b""),
    "a chunk too large": (
        "POST",
        "/socket.io/htmlfile/x/send",
        {"Transfer-Encoding": "chunked"},
        b"4e20\r\n" + b"x" * 20_000 + b"\r\n0\r\n\r\n",
    ),
    "an upgrade where there is none": ("GET", "/socket.io/xhr-polling//1", VERSION_13, b""),
    "an upgrade nowhere": ("GET", "/socket.io/nonsense", VERSION_13, b""),
    "no upgrade": ("GET", "/socket.io/websocket", {}, b""),
    "an unknown version": ("GET", "/socket.io/websocket", {**VERSION_13, "Sec-WebSocket-Version": "99"}, b""),
    "a long version": ("GET", "/socket.io/websocket", {**VERSION_13, "Sec-WebSocket-Version": "9" * LONG}, b""),
    "a bad key": ("GET", "/socket.io/websocket", {**VERSION_13, "Sec-WebSocket-Key": "x"}, b""),
    "bad key numbers": ("GET", "/socket.io/flashsocket", {**UPGRADE, "Sec-WebSocket-Key1": "x"}, KEY3),
    "an origin of a WebSocket": ("GET", "/socket.io/websocket", {**VERSION_13, "Origin": "http://evil.example"}, b""),
    "a header that is none": ("GET", "/socket.io/xhr-polling//1", {"X-\x01": "x"}, b""),
    "a long header that is none": ("GET", "/socket.io/xhr-polling//1", {"X": "\x01" * LONG}, b""),
    "a length that is none": ("POST", "/socket.io/xhr-polling/x/send", {"Content-Length": "x" * 100}, b""),
    "two lengths": ("POST", "/socket.io/x", {"Content-Length": "1", "Transfer-Encoding": "chunked"}, b"x"),
    "a path that is none": ("GET", "/socket.io/\x1b[2J", {}, b""),
}
