"""The one table of where our server answers otherwise than the two recorded ones, and why."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from tests.compatibility.replay import EVERY_ANSWER, EVERY_FIRST_ANSWER, Outcome

NODE: Final = "socketio-node-0.6.18"
ORIGINAL: Final = "tornadio-0.0.5"

WEBSOCKETS: Final = ("websocket", "flashsocket")
STREAMS: Final = ("xhr-multipart", "htmlfile")
POLLS: Final = ("xhr-polling", "jsonp-polling")
HTTP: Final = STREAMS + POLLS
XHR: Final = (*STREAMS, "xhr-polling")  # the original's JSONP never worked, so there are few recordings of it


@dataclasses.dataclass(frozen=True)
class Difference:
    """What ours does and theirs does, in each of these steps over each of these transports.

    In a step's name `{T}` stands for the transport. In `ours` and `theirs` an ellipsis stands for anything.
    """

    server: str
    transports: tuple[str, ...]
    steps: tuple[str, ...]
    ours: str
    theirs: str
    reason: str

    def steps_over(self, transport: str) -> set[str]:
        """The steps where it must show."""
        return {step.replace("{T}", transport) for step in self.steps} if transport in self.transports else set()

    def tells(self, transport: str, outcome: Outcome) -> bool:
        """Whether it is this difference that an outcome shows."""
        return (
            outcome.step in self.steps_over(transport)
            and _matches(self.ours, outcome.ours)
            and _matches(self.theirs, outcome.theirs)
        )


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), text) is not None


def _each(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in names)


# Frames that break the protocol; of these some that a lenient parser makes a message of.
BAD: Final = (
    "short ~m~5~m~abc",
    "nondigit length ~m~x~m~",
    "nondigit then good",
    "negative ~m~-1~m~",
    "no length ~m~",
    "length only ~m~5",
    "missing second mark ~m~5abcde",
    "wrong second mark ~m~5~x~abcde",
    "~j~ bad JSON",
    "~j~ empty",
    "garbage",
    "good then garbage",
    "utf8-byte length non-ascii",
    "codepoint length non-ascii",
    "utf8 length non-ascii + next frame",
)
BAD_AFTER_GOOD: Final = ("good then garbage",)
BAD_ALONE: Final = tuple(name for name in BAD if name not in BAD_AFTER_GOOD)
BAD_BUT_HEARD_BY_NODE: Final = tuple(name for name in BAD_ALONE if name != "garbage")
BAD_BUT_HEARD_BY_ORIGINAL: Final = (
    "short ~m~5~m~abc",
    "utf8-byte length non-ascii",
    "codepoint length non-ascii",
    "utf8 length non-ascii + next frame",
)

BAD_BODIES: Final = ("POST no data parameter", "POST xdr without data=")
EMPTY_BODIES: Final = ("POST empty body", "POST no body, no content-length", "POST xdr empty body")

PREFLIGHTS: Final = (
    "OPTIONS without session",
    "OPTIONS without session, Origin",
    "OPTIONS on session with Origin: http://example.com",
    "OPTIONS on session with Origin: http://example.com | Access-Control-Request-Method: POST",
    (
        "OPTIONS on session with Origin: http://example.com | Access-Control-Request-Method: POST"
        " | Access-Control-Request-Headers: x-a | Cookie: a=b"
    ),
)

SESSION_URLS: Final = _each(
    "GET session URL form ",
    "SID",
    "SID/",
    "SID/1290000000000",
    "SID/1290000000000/",
    "SID/1290000000000/0",
    "SID/1290000000000/3",
    "SID//1290000000000",
    "SID/send",
    "SID/send//0",
)

# What the stream's server was asked after it had sent an unanswered heartbeat.
AFTER_A_HEARTBEAT: Final = (
    "post with Origin",
    "post with Origin and Cookie",
    "post without content type (IE XDomainRequest), url-encoded",
    "post text/plain content type",
    "post without content type, plus sign in text",
    "post form content type, raw plus sign",
    "post multipart/form-data",
    "post to other URL forms",
)

EXTRAS: Final = ("chat /chat/123/{T}//1290000000000/0",)
BUFFERING: Final = ("client drops pending GET, then POST+GET (buffering)",)
AFTER_THE_SECOND: Final = ("second concurrent GET: close second, then send",)

WRAPPING: Final = (EVERY_ANSWER,)
FIRST_ANSWERS: Final = (EVERY_FIRST_ANSWER,)

# Reasons that stand for several rows
FORM: Final = (
    "what carries the payloads is well formed; proxies neither keep nor buffer it, allowed origins may read it"
)
TYPES: Final = "a list is as many messages, and numbers and booleans are JSON"
NOTHING: Final = "None is no message; theirs sends an empty one"
BYTES: Final = (
    "a length counts UTF-16 code units, in both directions; the original wrote bytes, and so lost what came next"
)
STRICT: Final = "the client hears of bad frames: status 400 with the reason, or a closing frame; those before it count"
HEARD: Final = "what a lenient parser makes of bad frames never was a message"
CLOSED_BY: Final = "the frame before it, of a wrong length, has closed the connection"
BATCH: Final = "a batch may hold a heartbeat's echo and messages, all count"
NOT_UTF8: Final = "text that is not UTF-8 is an error that the client hears of"
LEFT: Final = "a POST without a body, which no client of theirs sends, ends the session: its client says that it leaves"
BODY: Final = "a body is one field data=FRAMES in UTF-8, anything else is answered 400 with the reason"
BODY_TYPE: Final = "a body is read whatever its type says, and sent in chunks, too"
SILENT: Final = "every request is answered with a status; theirs is silent, or hangs up"
PREFLIGHT: Final = "preflights are answered, for every URL of a transport"
ROUTE: Final = "what is not below the resource is left to the application; the original's route took it"
PAGE: Final = "the recorded application had a page of its own there"
INDEX: Final = "a JSONP URL ends in /TIMESTAMP/INDEX, INDEX in digits: else it is answered 400"
TAILS: Final = "a POST may have any tail; theirs wants an INDEX"
EXTRA: Final = "extra_re is ours and the original's: where there is one, a part of the URL must match it"
ENABLED: Final = "enabled_protocols is ours and the original's; there was no such resource"
VERSIONS: Final = (
    "every version that a 0.6 client speaks: drafts 75 and 76, versions 7, 8 and 13, however they spell Upgrade"
)
PATH: Final = "what a path has behind a WebSocket's name means nothing, to the original neither"
MISPLACED: Final = "a WebSocket at a wrong address is refused, and what follows it is never taken for HTTP"
CLOSING: Final = "a WebSocket ends with a closing frame, and a code where the version has codes"
GONE: Final = "an ended or unknown session is answered 401"
ANOTHER: Final = "a session belongs to the transport that made it"
WITH_ITS_STREAM: Final = "a streaming session ends with its stream: what comes later is answered 401"
TAKES_OVER: Final = (
    "a second GET takes over: a first that waits is answered without a payload, a first that streams is ended"
)
CLOSED: Final = "a session that the server has closed is gone; theirs takes messages for it, and answers"
QUIET: Final = "heartbeats come when one side was silent for heartbeat_interval, not by a clock of their own"
ENDS_DEAF: Final = "after heartbeat_timeout the connection is closed, once"
NO_SESSION: Final = "a POST without a session has nobody to go to: 400"
DEAF: Final = (
    "the recorder has echoed no heartbeat: the official server soon forgets such a client, in silence; "
    "ours waits for heartbeat_timeout, and ends the stream"
)

DIFFERENCES: Final = (
    # What all answers are wrapped in
    Difference(
        NODE,
        ("xhr-multipart",),
        WRAPPING,
        "no flaws",
        "a boundary that a message can forge, nothing against caches",
        FORM,
    ),
    Difference(
        NODE, ("htmlfile", "jsonp-polling"), WRAPPING, "no flaws", "not for other origins, nothing against caches", FORM
    ),
    Difference(NODE, ("xhr-polling",), WRAPPING, "no flaws", "nothing against caches", FORM),
    Difference(
        ORIGINAL, ("xhr-multipart",), WRAPPING, "no flaws", "a malformed boundary, nothing against caches", FORM
    ),
    Difference(
        ORIGINAL,
        ("htmlfile",),
        WRAPPING,
        "no flaws",
        "a script with a syntax error, chunks that are none, not for other origins, nothing against caches",
        FORM,
    ),
    Difference(ORIGINAL, ("xhr-polling",), WRAPPING, "no flaws", "an ETag, nothing against caches", FORM),
    Difference(
        ORIGINAL,
        ("xhr-polling",),
        FIRST_ANSWERS,
        "GET: [ID]",
        'GET: [ID, "welcome"]',
        "the id comes alone, as the official server's: the official client may connect anew once it has that, and "
        "takes what is behind it for the next one",
    ),
    # Messages: their types, their lengths, and frames that are none
    Difference(NODE, WEBSOCKETS, ("h76 burst", "h75 burst"), "…json 3 json true", '…"3" "true"', TYPES),
    Difference(NODE, STREAMS, ("burst",), "…json 3 json true", '…"3" "true"', TYPES),
    Difference(NODE, POLLS, ("burst",), "…json 3, json true]", '…["a,[object Object],é中😀,3,true"]', TYPES),
    Difference(NODE, HTTP, ("frames: ~j~ scalar",), "…json 3…", '…"3"…', TYPES),
    Difference(NODE, WEBSOCKETS, ("h76 frames: ~j~ scalar",), '…json 3 "alive?"', '…"3" "alive?"', TYPES),
    Difference(NODE, HTTP, ("frames: ~j~ list",), '…json 1…"a"…', "…1…a…", TYPES),
    Difference(NODE, WEBSOCKETS, ("h76 frames: ~j~ list",), '…json 1 "a" "alive?"', '…"1" "a" "" "alive?"', TYPES),
    Difference(NODE, HTTP, ("frames: ~j~ null",), "…:", '…: …""…', NOTHING),
    Difference(NODE, WEBSOCKETS, ("h76 frames: ~j~ null",), '…"welcome" "alive?"', '…"welcome" "" "alive?"', NOTHING),
    Difference(ORIGINAL, ("xhr-polling",), ("frames: ~j~ null",), "GET:", "GET: []", NOTHING),
    Difference(ORIGINAL, WEBSOCKETS, ("h76 burst", "hybi8 burst"), '…"é中😀" json 3 json true', "…lost: …", BYTES),
    Difference(ORIGINAL, STREAMS, ("burst",), '…"é中😀" json 3 json true', "…lost: …", BYTES),
    Difference(ORIGINAL, ("xhr-polling",), ("burst",), '…"é中😀", json 3, json true]', "…lost: …", BYTES),
    Difference(
        ORIGINAL,
        ("xhr-polling",),
        ("frames: utf16 length non-ascii + next frame",),
        'GET: ["é中😀", "next"]',
        'GET: ["é中😀~m~4~", lost: …',
        BYTES,
    ),
    Difference(NODE, HTTP, _each("frames: ", *BAD), "POST: 400", "POST: 200 ok", STRICT),
    Difference(NODE, HTTP, _each("frames: ", *BAD_BUT_HEARD_BY_NODE), "…:", "…: …", HEARD),
    Difference(
        NODE, WEBSOCKETS, _each("h76 frames: ", *BAD_ALONE), '…"welcome" closing frame closed', '…"alive?"', STRICT
    ),
    Difference(
        NODE,
        WEBSOCKETS,
        _each("h76 frames: ", *BAD_AFTER_GOOD),
        '…"welcome" "…" closing frame closed',
        '…"alive?"',
        STRICT,
    ),
    Difference(ORIGINAL, XHR, _each("frames: ", *BAD), "POST: 400", "POST: …", STRICT),
    Difference(ORIGINAL, XHR, _each("frames: ", *BAD_BUT_HEARD_BY_ORIGINAL), "…:", "…: …", HEARD),
    Difference(ORIGINAL, WEBSOCKETS, _each("h76 frames: ", *BAD_ALONE), '…"welcome" closing frame closed', "…", STRICT),
    Difference(
        ORIGINAL, WEBSOCKETS, _each("hybi8 frames: ", *BAD_ALONE), '…"welcome" closing frame 1007 closed', "…", STRICT
    ),
    Difference(
        ORIGINAL,
        WEBSOCKETS,
        _each("h76 frames: ", *BAD_AFTER_GOOD) + _each("hybi8 frames: ", *BAD_AFTER_GOOD),
        '…"welcome" "…" closing frame…closed',
        '…"alive?"',
        STRICT,
    ),
    Difference(NODE, HTTP, ("non-ascii XDR body utf8 len",), "POST: 400", "POST: 200 ok", BYTES),
    Difference(NODE, HTTP, ("non-ascii XDR body utf8 len",), "…:", '…: …"é中😀"…', BYTES),
    Difference(ORIGINAL, ("xhr-polling",), ("non-ascii XDR body utf8 len",), "POST: 400", "POST: 500", BYTES),
    Difference(ORIGINAL, ("xhr-polling",), ("non-ascii XDR body utf8 len",), "GET:", "GET: 401", BYTES),
    Difference(
        NODE,
        WEBSOCKETS,
        ("h76 non-ascii utf8 length", "h75 non-ascii utf8 length"),
        "data: closing frame closed",
        'data: "é中😀"',
        STRICT,
    ),
    Difference(
        NODE,
        WEBSOCKETS,
        ("h76 non-ascii codepoint length", "h75 non-ascii codepoint length"),
        "data:",
        'data: "é中�"',
        CLOSED_BY,
    ),
    Difference(
        ORIGINAL,
        WEBSOCKETS,
        ("h76 non-ascii utf8 length", "hybi8 non-ascii utf8 length"),
        "data: closing frame…closed",
        'data: "é中😀"',
        STRICT,
    ),
    Difference(
        ORIGINAL,
        WEBSOCKETS,
        (
            "h76 non-ascii codepoint length",
            "hybi8 non-ascii codepoint length",
            "h76 client close",
            "hybi8 client close",
        ),
        "data:",
        "data: …",
        CLOSED_BY,
    ),
    Difference(NODE, HTTP, ("frames: ~h~ followed by text",), '…"afterhb"…', "…:", BATCH),
    Difference(
        NODE, WEBSOCKETS, ("h76 frames: ~h~ followed by text",), '…"afterhb" "alive?"', '…"welcome" "alive?"', BATCH
    ),
    Difference(
        NODE, WEBSOCKETS, ("h76 U+FFFD inside text",), '…"a�b" "next"', '…"a�b"', "U+FFFD is a character like any"
    ),
    Difference(NODE, WEBSOCKETS, ("h76 invalid utf-8",), "…closing frame closed", '…"�"', NOT_UTF8),
    Difference(ORIGINAL, WEBSOCKETS, ("h76 invalid utf-8",), "…closing frame closed", '…"�"', NOT_UTF8),
    # Bodies of POSTs
    Difference(NODE, HTTP, BAD_BODIES, "POST: 400", "POST: 200 ok", BODY),
    Difference(ORIGINAL, ("xhr-polling",), BAD_BODIES, "POST: 400", "POST: 500", BODY),
    Difference(NODE, STREAMS, EMPTY_BODIES, "stream: end of stream", "stream:", LEFT),
    Difference(ORIGINAL, STREAMS, EMPTY_BODIES, "POST: 200 ok", "POST: 400", LEFT),
    Difference(ORIGINAL, STREAMS, EMPTY_BODIES, "stream: end of stream", "stream:", LEFT),
    Difference(ORIGINAL, ("xhr-polling",), EMPTY_BODIES, "POST: 200 ok", "POST: 500", LEFT),
    Difference(ORIGINAL, ("xhr-polling",), EMPTY_BODIES, "GET: 401", "GET:", LEFT),
    Difference(NODE, HTTP, ("POST data twice", "POST bad percent"), "POST: 400", "POST: 200 ok", BODY),
    Difference(ORIGINAL, XHR, ("POST data twice", "POST bad percent"), "POST: 400", "POST: 200 ok", BODY),
    Difference(ORIGINAL, XHR, ("POST data twice",), "…:", '…"d2"…', BODY),
    Difference(NODE, HTTP, ("POST invalid utf8 percent",), "POST: 400", "POST: 200 ok", NOT_UTF8),
    Difference(NODE, STREAMS, ("POST invalid utf8 percent",), "stream:", 'stream: "�"', NOT_UTF8),
    Difference(NODE, POLLS, ("POST invalid utf8 percent",), 'GET: ["welcome"]', 'GET: ["welcome", "�"]', NOT_UTF8),
    Difference(ORIGINAL, XHR, ("POST invalid utf8 percent",), "POST: 400", "POST: 500", NOT_UTF8),
    Difference(
        ORIGINAL, XHR, ("POST data= empty",), "POST: 200 ok", "POST: …", "empty data holds no frames, which is no error"
    ),
    Difference(NODE, HTTP, ("POST without session",), "POST: 400", "POST: 200 ok", NO_SESSION),
    Difference(ORIGINAL, HTTP, ("POST without session",), "POST: 400", "POST: 200 ok", NO_SESSION),
    Difference(NODE, HTTP, ("post multipart/form-data",), '…"mp"…', "…:", BODY_TYPE),
    Difference(
        ORIGINAL,
        XHR,
        ("post text/plain content type", "POST json content type", "chunked POST"),
        "POST: 200 ok",
        "POST: …",
        BODY_TYPE,
    ),
    Difference(
        ORIGINAL,
        STREAMS,
        ("post text/plain content type", "POST json content type", "chunked POST"),
        'stream: "…"',
        "stream:",
        BODY_TYPE,
    ),
    Difference(
        ORIGINAL,
        ("xhr-polling",),
        ("post text/plain content type", "POST json content type", "chunked POST"),
        'GET: ["…"]',
        "GET:…",
        BODY_TYPE,
    ),
    Difference(
        ORIGINAL,
        STREAMS,
        (
            "post without content type (IE XDomainRequest), url-encoded",
            "post without content type, plus sign in text",
            "non-ascii XDR body utf16 len",
        ),
        "POST: 200 ok",
        "POST: 400",
        BODY_TYPE,
    ),
    Difference(
        ORIGINAL,
        STREAMS,
        (
            "post without content type (IE XDomainRequest), url-encoded",
            "post without content type, plus sign in text",
            "non-ascii XDR body utf16 len",
        ),
        "stream: …",
        "stream:",
        BODY_TYPE,
    ),
    Difference(ORIGINAL, ("xhr-polling",), ("non-ascii XDR body utf16 len",), 'GET: ["é中😀"]', "GET: 500", BYTES),
    # Methods
    Difference(NODE, HTTP, ("HEAD without session",), "HEAD: 405", "HEAD:", SILENT),
    Difference(NODE, HTTP, ("PUT without session",), "PUT: 405", "PUT:", SILENT),
    Difference(NODE, HTTP, ("DELETE without session",), "DELETE: 405", "DELETE:", SILENT),
    Difference(NODE, ("htmlfile", *POLLS), PREFLIGHTS, "OPTIONS: 200", "OPTIONS:", PREFLIGHT),
    Difference(
        NODE,
        ("xhr-multipart",),
        ("OPTIONS without session", "OPTIONS on session with Origin: http://example.com"),
        "OPTIONS: 200",
        "OPTIONS:",
        PREFLIGHT,
    ),
    Difference(NODE, ("xhr-multipart", *POLLS), ("OPTIONS on session with ",), "OPTIONS: 200", "OPTIONS:", PREFLIGHT),
    Difference(
        NODE, ("htmlfile",), ("OPTIONS on session with ",), "OPTIONS: 200", "OPTIONS: closed without a byte", PREFLIGHT
    ),
    Difference(NODE, HTTP, ("unknown session OPTIONS",), "OPTIONS: 200", "OPTIONS: closed without a byte", PREFLIGHT),
    Difference(
        ORIGINAL, HTTP, ("unknown session OPTIONS",), "OPTIONS: 200", "OPTIONS: closed without a byte", PREFLIGHT
    ),
    Difference(NODE, WEBSOCKETS, ("POST",), "POST: 405", "POST:", SILENT),
    Difference(ORIGINAL, WEBSOCKETS, ("POST",), "POST: 405", "POST: closed without a byte", SILENT),
    Difference(NODE, WEBSOCKETS, ("OPTIONS",), "OPTIONS: 200", "OPTIONS:", PREFLIGHT),
    Difference(ORIGINAL, WEBSOCKETS, ("OPTIONS",), "OPTIONS: 200", "OPTIONS: closed without a byte", PREFLIGHT),
    # URLs
    Difference(
        NODE, XHR, ("handshake URL /socket.io/{T}/1290000000000",), "GET: 401", "GET: closed without a byte", SILENT
    ),
    Difference(
        ORIGINAL, XHR, ("handshake URL /socket.io/{T}/1290000000000",), "GET: 401", "GET: closed without a byte", SILENT
    ),
    Difference(ORIGINAL, HTTP, ("handshake URL /socket.io/{T}junk",), "GET: 404", "GET: closed without a byte", SILENT),
    Difference(
        ORIGINAL,
        XHR,
        ("handshake URL /socket.io//{T}", "handshake URL /socketXio/{T}"),
        "GET: 404",
        'GET: …ID…"welcome"…',
        "a route takes its own URLs and nothing else; the original's matched too much",
    ),
    Difference(ORIGINAL, ("xhr-polling",), ("GET /", "GET /123"), "GET: 404", "GET: closed without a byte", ROUTE),
    Difference(ORIGINAL, ("xhr-polling",), ("GET /test",), "GET: 404", "GET: 200 index", PAGE),
    Difference(
        NODE,
        ("jsonp-polling",),
        (
            *_each("handshake URL /socket.io/{T}", "", "/", "//", "?x=1", "//1290000000000?x=1", "//abc/def"),
            "GET session URL form SID/send",
        ),
        "GET: 400",
        "GET:",
        INDEX,
    ),
    Difference(
        NODE,
        ("jsonp-polling",),
        (
            *_each("handshake URL /socket.io/{T}", "//1290000000000", "///1290000000000", "//1290000000000/0/"),
            *_each(
                "GET session URL form SID", "", "/", "/1290000000000", "/1290000000000/", "//1290000000000", "/send//0"
            ),
        ),
        "GET: 400",
        "GET: …[…]",
        INDEX,
    ),
    Difference(
        NODE,
        ("jsonp-polling",),
        ("handshake URL /socket.io/{T}/1290000000000",),
        "GET: 400",
        "GET: closed without a byte",
        INDEX,
    ),
    Difference(
        ORIGINAL,
        ("jsonp-polling",),
        ("handshake URL /socket.io/{T}/1290000000000",),
        "GET: 400",
        "GET: closed without a byte",
        INDEX,
    ),
    Difference(NODE, ("jsonp-polling",), ("post to other URL forms",), "POST: 200 ok", "POST:", TAILS),
    Difference(NODE, ("jsonp-polling",), ("post to other URL forms",), 'GET: ["u/send…"]', "GET:", TAILS),
    Difference(
        ORIGINAL,
        ("jsonp-polling",),
        (
            "handshake",
            "first read after handshake",
            *_each("handshake URL /socket.io/{T}//1290000000000/", "0", "7"),
            "GET with session URL forms",
            *_each("handshake with ", "Origin: http://example.com", "Origin: http://example.com | Cookie: a=b"),
            *_each("handshake with ", "Origin: null", "Connection: close", "Connection: keep-alive"),
            "handshake with Accept-Encoding: gzip",
            "handshake HTTP/1.0",
            "handshake HTTP/1.0 keep-alive",
            "POST without session",
            "session used on another transport",
            "poll timeout: empty body",
            "second concurrent GET",
            "client drops pending GET, then POST+GET (buffering)",
            "server-side close while GET pending / stream open",
            "server-side close with no GET pending",
            "chat /chat/123/{T}//1290000000000/0",
        ),
        "GET: [ID]",
        "GET: 401",
        "the original took INDEX for a session, so its JSONP never worked",
    ),
    # Applications: the official server knew one resource without extras, and no choice of transports
    Difference(
        NODE,
        STREAMS,
        (*EXTRAS, "chat /chat/123/{T}//1290000000000", "chat /chat/7/{T}/"),
        "GET: stream…",
        "GET: 404",
        EXTRA,
    ),
    Difference(
        NODE,
        ("xhr-polling",),
        (*EXTRAS, "chat /chat/123/{T}//1290000000000", "chat /chat/7/{T}/"),
        "GET: [ID]",
        "GET: 404",
        EXTRA,
    ),
    Difference(NODE, ("jsonp-polling",), EXTRAS, "GET: [ID]", "GET: 404", EXTRA),
    Difference(NODE, HTTP, ("chat /chat/{T}//1290000000000",), "GET: 404", "GET: …ID…", EXTRA),
    Difference(NODE, WEBSOCKETS, ("h76 path /chat/123/{T}",), "GET: WebSocket…", "GET: closed without a byte", EXTRA),
    Difference(NODE, WEBSOCKETS, ("h76 path /chat/{T}",), "GET: 400", "GET: closed without a byte", EXTRA),
    Difference(
        NODE, ("xhr-polling",), ("limited resource (only xhr-polling enabled)",), "GET: [ID]", "GET: 404", ENABLED
    ),
    Difference(
        ORIGINAL,
        (*STREAMS, "jsonp-polling"),
        ("limited resource (only xhr-polling enabled)",),
        "GET: 403",
        "GET: closed without a byte",
        SILENT,
    ),
    Difference(NODE, WEBSOCKETS, ("h76 path /limited/{T}",), "GET: 403", "GET: closed without a byte", ENABLED),
    Difference(ORIGINAL, WEBSOCKETS, ("h76 path /limited/{T}",), "GET: 403", "GET: closed without a byte", SILENT),
    # WebSocket: handshakes and ends
    Difference(
        NODE,
        WEBSOCKETS,
        ("handshake hybi8", "handshake hybi13", "h76 lower-case upgrade header value"),
        'GET: WebSocket ID "welcome"',
        "GET:",
        VERSIONS,
    ),
    Difference(
        ORIGINAL,
        WEBSOCKETS,
        ("handshake h75", "h76 no Origin"),
        'GET: WebSocket ID "welcome"',
        "GET: closed without a byte",
        VERSIONS,
    ),
    Difference(ORIGINAL, WEBSOCKETS, ("handshake hybi13",), 'GET: WebSocket ID "welcome"', "GET: 426", VERSIONS),
    Difference(NODE, WEBSOCKETS, ("plain GET without upgrade",), "GET: 400", "GET:", SILENT),
    Difference(ORIGINAL, WEBSOCKETS, ("plain GET without upgrade",), "GET: 400", "GET: closed without a byte", SILENT),
    Difference(
        NODE,
        WEBSOCKETS,
        ("h76 path /socket.io/{T}/1290000000000",),
        'GET: WebSocket ID "welcome"',
        "GET: closed without a byte",
        PATH,
    ),
    Difference(
        NODE,
        WEBSOCKETS,
        ("h76 path /socket.io/nosuch",),
        "GET: 400",
        "GET: closed without a byte",
        SILENT,
    ),
    Difference(NODE, WEBSOCKETS, ("h76 path /other", "h76 path /"), "GET: 404", "GET: closed without a byte", SILENT),
    Difference(ORIGINAL, WEBSOCKETS, ("h76 path /",), "GET: 404", "GET: closed without a byte", ROUTE),
    Difference(
        NODE,
        WEBSOCKETS,
        ("h76 path /socket.io/xhr-polling",),
        "GET: 400",
        "GET:",
        MISPLACED,
    ),
    Difference(
        ORIGINAL,
        WEBSOCKETS,
        ("h76 path /socket.io/xhr-polling",),
        "GET data: 400",
        'GET data: [ID, "welcome"]',
        MISPLACED,
    ),
    Difference(NODE, WEBSOCKETS, ("h76 server-side close",), "…closing frame", "…closed", CLOSING),
    Difference(
        NODE,
        WEBSOCKETS,
        ("h76 server-side close, client answers",),
        "…closing frame closed",
        'GET data data: WebSocket ID "welcome" closed',
        CLOSING,
    ),
    Difference(
        ORIGINAL,
        WEBSOCKETS,
        ("hybi8 server-side close", "hybi8 server-side close, client answers"),
        "…closing frame 1000 closed",
        "…closing frame closed",
        CLOSING,
    ),
    Difference(ORIGINAL, WEBSOCKETS, ("hybi8 unmasked",), "…closing frame 1002 closed", '…"welcome" closed', CLOSING),
    Difference(
        ORIGINAL,
        WEBSOCKETS,
        ("h76 bad first byte",),
        'GET data: WebSocket ID "welcome"',
        "…closed",
        "a length-prefixed frame carries no text and is skipped",
    ),
    Difference(
        NODE,
        ("flashsocket",),
        ("inline policy request on main port",),
        "data: policy file closed",
        "data: closed",
        "a policy ends with a NUL, as its request does; theirs ends with a newline",
    ),
    Difference(
        ORIGINAL,
        ("flashsocket",),
        ("inline policy request on main port",),
        "data: policy file closed",
        "data:",
        "the main port answers policy requests",
    ),
    # Sessions: who has one, and when it ends
    Difference(NODE, HTTP, ("unknown session GET", "GET after expiry"), "GET: 401", "GET: closed without a byte", GONE),
    Difference(
        NODE, HTTP, ("unknown session POST", "POST after expiry"), "POST: 401", "POST: closed without a byte", GONE
    ),
    Difference(ORIGINAL, HTTP, ("unknown session GET",), "GET: 401", "GET: closed without a byte", GONE),
    Difference(ORIGINAL, HTTP, ("unknown session POST",), "POST: 401", "POST: closed without a byte", GONE),
    Difference(
        ORIGINAL, XHR, ("GET after expiry", "GET after server close"), "GET: 401", "GET: closed without a byte", GONE
    ),
    Difference(
        ORIGINAL,
        XHR,
        ("POST after expiry", "POST after server close"),
        "POST: 401",
        "POST: closed without a byte",
        GONE,
    ),
    Difference(NODE, STREAMS, ("session used on another transport",), "GET: 401", "GET: stream", ANOTHER),
    Difference(NODE, POLLS, ("session used on another transport",), "GET: 401", 'GET: …["welcome"]', ANOTHER),
    Difference(ORIGINAL, ("xhr-polling",), ("session used on another transport",), "GET: 401", "GET:", ANOTHER),
    Difference(NODE, STREAMS, SESSION_URLS, "GET: 401", "GET: closed without a byte", WITH_ITS_STREAM),
    Difference(ORIGINAL, STREAMS, SESSION_URLS, "GET: 401", 'GET: stream "wake"', WITH_ITS_STREAM),
    Difference(ORIGINAL, STREAMS, SESSION_URLS, "POST: 401", "POST: 200 ok", WITH_ITS_STREAM),
    Difference(NODE, STREAMS, BUFFERING, "GET: 401", "GET: closed without a byte", WITH_ITS_STREAM),
    Difference(NODE, STREAMS, BUFFERING, "POST: 401", "POST: closed without a byte", WITH_ITS_STREAM),
    Difference(ORIGINAL, STREAMS, BUFFERING, "GET: 401", 'GET: stream "while away"', WITH_ITS_STREAM),
    Difference(ORIGINAL, STREAMS, BUFFERING, "POST: 401", "POST: 200 ok", WITH_ITS_STREAM),
    Difference(
        NODE,
        POLLS,
        BUFFERING,
        'GET: ["welcome"]',
        "GET:",
        "the recorder left before it had read this answer",
    ),
    Difference(NODE, STREAMS, ("second concurrent GET",), "…end of stream", 'GET: stream ID "welcome"', TAKES_OVER),
    Difference(NODE, STREAMS, AFTER_THE_SECOND, "POST: 401", "POST: 200 ok", WITH_ITS_STREAM),
    Difference(NODE, POLLS, ("second concurrent GET",), "GET: []", "GET:", TAKES_OVER),
    Difference(ORIGINAL, STREAMS, ("second concurrent GET",), "…end of stream", '…"who gets it"', TAKES_OVER),
    Difference(ORIGINAL, STREAMS, ("second concurrent GET",), '…"who gets it"', "GET: 401", TAKES_OVER),
    Difference(ORIGINAL, STREAMS, AFTER_THE_SECOND, "POST: 401", "POST: 200 ok", WITH_ITS_STREAM),
    Difference(ORIGINAL, STREAMS, AFTER_THE_SECOND, "stream:", 'stream: "after second closed"', WITH_ITS_STREAM),
    Difference(ORIGINAL, ("xhr-polling",), ("second concurrent GET",), "GET: []", 'GET: ["who gets it"]', TAKES_OVER),
    Difference(ORIGINAL, ("xhr-polling",), ("second concurrent GET",), 'GET: ["who gets it"]', "GET: 401", TAKES_OVER),
    Difference(NODE, HTTP, ("POST after server close",), "POST: 401", "POST: 200 ok", CLOSED),
    Difference(NODE, HTTP, ("GET after server close",), "GET: 401", 'GET: …"x"…', CLOSED),
    Difference(
        NODE,
        POLLS,
        ("server-side close while GET pending / stream open",),
        "GET: []",
        "GET: closed without a byte",
        "a poll that waits when the server closes is answered",
    ),
    Difference(
        ORIGINAL,
        STREAMS,
        ("server-side close while GET pending / stream open",),
        "…end of stream",
        '…"welcome"',
        "a close by the server ends the stream",
    ),
    Difference(
        ORIGINAL,
        ("xhr-polling",),
        ("server-side close with no GET pending",),
        "GET: 401",
        "GET: closed without a byte",
        GONE,
    ),
    # Heartbeats
    Difference(NODE, STREAMS, AFTER_A_HEARTBEAT, "POST: 200 ok", "POST: closed without a byte", DEAF),
    Difference(NODE, STREAMS, AFTER_A_HEARTBEAT, 'stream: "…', "stream:", DEAF),
    Difference(NODE, STREAMS, ("heartbeat, never answered",), "…~h~1 ~h~2 ~h~3 …end of stream", "…~h~1", DEAF),
    Difference(NODE, STREAMS, ("heartbeat delayed by traffic",), "POST: 200 ok", "POST: closed without a byte", DEAF),
    Difference(NODE, STREAMS, ("heartbeat delayed by traffic",), "…~h~3", '…~h~1 "tick1"', QUIET),
    Difference(NODE, WEBSOCKETS, ("h76 heartbeat never answered",), "…~h~1 ~h~2 ~h~3 …closed", "…~h~1", DEAF),
    Difference(NODE, WEBSOCKETS, ("h76 heartbeat delayed by traffic",), "…~h~3", '…~h~1 "tick1"', QUIET),
    Difference(ORIGINAL, STREAMS, ("heartbeat, never answered",), "…~h~6 end of stream", "…~h~6", ENDS_DEAF),
    Difference(
        ORIGINAL,
        WEBSOCKETS,
        ("h76 heartbeat never answered", "hybi8 heartbeat never answered"),
        "…~h~6 closing frame…closed",
        "…~h~6 closing frame closing frame…",
        ENDS_DEAF,
    ),
)
