"""Plain requests: what is one, what is left to Tornado's HTTP, and that both read the same."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import Callable

import h11
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tornado.http1connection import HTTP1ServerConnection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream

from tests.support import limit
from tornadio.web.contextrequest import ContextRequest
from tornadio.web.fastparse import Headers, SimpleRequest, may_become_simple, parse_simple_request
from tornadio.web.peers import Client

GET = b"GET /socket.io/xhr-polling/0123456789/1?t=1 HTTP/1.1\r\nHost: example.com:8001\r\nAccept: */*\r\n\r\n"
BODY = b"data=~m~1~m~x"
POST = b"POST /a/b HTTP/1.1\r\nHost: example.com\r\nContent-Length: 13\r\nCookie: a=1; b=2\r\n\r\n" + BODY


def parse_whole(data: bytes) -> SimpleRequest | None:
    """The simple request that is there with its whole body."""
    request = parse_simple_request(data)
    return request if request is not None and request.total_bytes <= len(data) else None


def plain(data: bytes) -> SimpleRequest:
    """The request that is there: it is plain."""
    request = parse_whole(data)
    assert request is not None
    return request


# -- What is plain -----------------------------------------------------------------------------------------------------


def test_a_get():
    request = plain(GET)
    assert (request.method, request.uri) == ("GET", "/socket.io/xhr-polling/0123456789/1?t=1")
    assert dict(request.headers) == {"host": "example.com:8001", "accept": "*/*"}
    assert (request.body, request.total_bytes) == (b"", len(GET))


def test_a_post():
    request = plain(POST)
    assert (request.method, request.uri) == ("POST", "/a/b")
    assert dict(request.headers) == {"host": "example.com", "content-length": "13", "cookie": "a=1; b=2"}
    assert (request.body, request.total_bytes) == (BODY, len(POST))


def test_a_preflight():
    assert plain(GET.replace(b"GET", b"OPTIONS")).method == "OPTIONS"


@pytest.mark.parametrize("rest", [b"G", b"\r\n", b"\0", b"\xff" * 1000, GET, POST])
@pytest.mark.parametrize("data", [GET, POST])
def test_what_stands_behind_a_request_is_not_part_of_it(data, rest):
    alone, followed = plain(data), plain(data + rest)
    assert (followed.body, followed.total_bytes) == (alone.body, alone.total_bytes) == (alone.body, len(data))


def test_fields_are_found_by_their_names_in_any_case():
    fields = plain(GET).headers
    assert fields["HOST"] == fields["Host"] == fields.get("hOST") == "example.com:8001"
    assert "Accept" in fields
    assert "accept" in fields
    assert "Cookie" not in fields
    assert not fields.__contains__(1)  # as a mapping must be able to say
    assert (fields.get("Cookie"), fields.get("Cookie", "none")) == (None, "none")
    assert (len(fields), list(fields)) == (2, ["host", "accept"])
    with pytest.raises(KeyError):
        fields["Cookie"]
    assert dict(Headers({})) == {}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"X:", ""),
        (b"X: ", ""),
        (b"X:x", "x"),
        (b"X:  x  ", "x"),
        (b"X: x  y", "x  y"),
        (b"X: :x:", ":x:"),
        (b"X: a, b, a", "a, b, a"),
        (b'X: "\\"', '"\\"'),
        (b"X: ~", "~"),
    ],
)
def test_a_value_is_what_stands_between_the_blanks(line, value):
    assert plain(GET.replace(b"Accept: */*", line)).headers["x"] == value


@pytest.mark.parametrize("name", [b"a", b"A-B", b"_", b"!#$%&'*+-.^_`|~", b"0"])
def test_a_name_may_be_any_token(name):
    assert name.decode().lower() in plain(GET.replace(b"Accept", name)).headers


@pytest.mark.parametrize("uri", [b"/", b"//", b"/?", b"/??", b"/%", b"/%00", b"/a#b", b"/~!$&'()*+,;=:@[]|\\^`{}\"<>"])
def test_a_uri_may_be_anything_that_begins_as_a_path(uri):
    assert plain(b"GET " + uri + b" HTTP/1.1\r\nHost: x\r\n\r\n").uri == uri.decode()


@pytest.mark.parametrize("host", [b"x", b"127.0.0.1", b"a-b.example.com:80", b"LOCALHOST"])
def test_a_host_is_a_name_or_an_address(host):
    assert plain(GET.replace(b"example.com:8001", host)).headers["host"] == host.decode()


@pytest.mark.parametrize("connection", [b"keep-alive", b"Keep-Alive", b"Upgrade", b"upgrade", b"keep-alive, Upgrade"])
def test_a_connection_may_be_kept_or_upgraded(connection):
    assert plain(GET.replace(b"Accept: */*", b"Connection: " + connection)).headers["connection"] == connection.decode()


@pytest.mark.parametrize(("length", "size"), [(b"0", 0), (b"00", 0), (b"7", 7), (b"000007", 7)])
def test_a_length_is_in_digits(length, size):
    request = plain(POST.replace(b"13", length))
    assert request.body == BODY[:size]
    assert request.total_bytes == len(POST) + len(length) - len(b"13") - len(BODY) + size


def test_a_query_may_have_as_many_arguments_as_anybody_needs():
    assert plain(GET.replace(b"t=1", b"&".join([b"t=1"] * 100))).total_bytes == len(GET) + 99 * 4


# -- What is not -------------------------------------------------------------------------------------------------------

# What of a plain request is replaced, and by what.
NOT_PLAIN_LINES = {
    "another method": (b"GET", b"PUT"),
    "a HEAD": (b"GET", b"HEAD"),
    "a method in lower case": (b"GET", b"get"),
    "a method with a blank before it": (b"GET", b" GET"),
    "an empty line before it": (b"GET", b"\r\nGET"),
    "a NUL before it": (b"GET", b"\0GET"),
    "two blanks": (b"GET ", b"GET  "),
    "a tab": (b"GET ", b"GET\t"),
    "no blank": (b"GET ", b"GET"),
    "a blank in the path": (b"xhr-polling", b"xhr polling"),
    "a tab in the path": (b"xhr-polling", b"xhr\tpolling"),
    "a NUL in the path": (b"xhr-polling", b"xhr\0polling"),
    "a DEL in the path": (b"xhr-polling", b"xhr\x7fpolling"),
    "a path that is not ASCII": (b"xhr-polling", b"xhr\xc3\xa9"),
    "a CR in the path": (b"xhr-polling", b"xhr\rpolling"),
    "a path without a slash": (b"/socket.io", b"socket.io"),
    "no path": (b"/socket.io/xhr-polling/0123456789/1?t=1", b""),
    "an absolute URI": (b"/socket.io", b"http://example.com:8001/socket.io"),
    "an absolute URI of another host": (b"/socket.io", b"http://example.org/socket.io"),
    "an asterisk": (b"/socket.io/xhr-polling/0123456789/1?t=1", b"*"),
    "an authority": (b"/socket.io/xhr-polling/0123456789/1?t=1", b"example.com:8001"),
    "HTTP/1.0": (b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.2": (b"HTTP/1.1", b"HTTP/1.2"),
    "HTTP/1.10": (b"HTTP/1.1", b"HTTP/1.10"),
    "HTTP/2": (b"HTTP/1.1", b"HTTP/2.0"),
    "a version in lower case": (b"HTTP/1.1", b"http/1.1"),
    "no version": (b" HTTP/1.1", b""),
    "a blank behind the version": (b"HTTP/1.1", b"HTTP/1.1 "),
    "a bare LF behind the request line": (b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
    "a bare CR behind the request line": (b"HTTP/1.1\r\n", b"HTTP/1.1\r"),
    "too many arguments": (b"t=1", b"&".join([b"t=1"] * 102)),
}
NOT_PLAIN_FIELDS = {
    "a bare LF behind a field": (b"Accept: */*\r\n", b"Accept: */*\n"),
    "a bare LF behind the head": (b"\r\n\r\n", b"\r\n\n"),
    "bare LFs": (b"\r\n\r\n", b"\n\n"),
    "a bare CR in a value": (b"*/*", b"*\r*"),
    "a bare LF in a value": (b"*/*", b"*\n*"),
    "two CRs": (b"*/*\r\n", b"*/*\r\r\n"),
    "a folded line": (b"*/*", b"*/*,\r\n text/html"),
    "a line folded with a tab": (b"*/*", b"*/*,\r\n\ttext/html"),
    "a blank before the first field": (b"Host", b" Host"),
    "a NUL in a value": (b"*/*", b"*\0*"),
    "a tab in a value": (b"*/*", b"*\t*"),
    "a tab before a value": (b" */*", b"\t*/*"),
    "a DEL in a value": (b"*/*", b"*\x7f*"),
    "a value in Latin-1": (b"*/*", b"\xe9"),
    "a value in UTF-8": (b"*/*", "中".encode()),
    "a blank behind a name": (b"Accept:", b"Accept :"),
    "a blank in a name": (b"Accept", b"Acc ept"),
    "a tab behind a name": (b"Accept:", b"Accept\t:"),
    "a NUL in a name": (b"Accept", b"Acc\0ept"),
    "a name that is not ASCII": (b"Accept", b"Acc\xc3\xa9pt"),
    "a name that is no token": (b"Accept", b"Acc(ept"),
    "a line without a colon": (b"Accept: */*", b"Accept"),
    "a field without a name": (b"Accept", b""),
    "no fields": (b"Host: example.com:8001\r\nAccept: */*\r\n", b""),
    "a field twice": (b"Accept: */*\r\n", b"Accept: */*\r\nAccept: */*\r\n"),
    "a field twice, in other cases": (b"Accept: */*\r\n", b"Accept: */*\r\nACCEPT: text/html\r\n"),
    "two hosts": (b"Accept: */*", b"Host: example.org"),
    "two hosts in one": (b"example.com:8001", b"example.com, example.org"),
    "no host": (b"Host: example.com:8001\r\n", b""),
    "an empty host": (b"example.com:8001", b""),
    "a host with a user": (b"example.com", b"user@example.com"),
    "a host with a path": (b"example.com", b"example.com/path"),
    "a port without a host": (b"example.com", b""),
    "a port that is none": (b"8001", b"http"),
    "a colon without a port": (b"8001", b""),
    "an IPv6 host": (b"example.com", b"[::1]"),
    "a host with escapes": (b"example.com", b"ex%61mple.com"),
    "Connection: close": (b"Accept: */*", b"Connection: close"),
    "Connection: close, among others": (b"Accept: */*", b"Connection: keep-alive, close"),
    "Connection: HTTP2-Settings": (b"Accept: */*", b"Connection: Upgrade, HTTP2-Settings"),
    "another connection": (b"Accept: */*", b"Connection: x"),
    "an empty connection": (b"Accept: */*", b"Connection:"),
    "Expect": (b"Accept: */*", b"Expect: 100-continue"),
    "TE": (b"Accept: */*", b"TE: trailers"),
    "Trailer": (b"Accept: */*", b"Trailer: X"),
    "HTTP2-Settings": (b"Accept: */*", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
    "Transfer-Encoding": (b"Accept: */*", b"Transfer-Encoding: chunked"),
    "Transfer-Encoding: identity": (b"Accept: */*", b"transfer-encoding: identity"),
    "Transfer-Encoding without a value": (b"Accept: */*", b"TRANSFER-ENCODING:"),
    "a GET with a body": (b"Accept: */*", b"Content-Length: 1"),
    "a GET with a body of no bytes": (b"Accept: */*", b"Content-Length: 0"),
}
NOT_PLAIN_BODIES = {
    "a POST without a length": (b"Content-Length: 13\r\n", b""),
    "a length in chunks, too": (b"Cookie: a=1; b=2", b"Transfer-Encoding: chunked"),
    "a length twice": (b"Cookie: a=1; b=2", b"Content-Length: 13"),
    "a length twice, another one": (b"Cookie: a=1; b=2", b"content-length: 0"),
    "a length twice in one field": (b"13", b"13, 13"),
    "an empty length": (b" 13", b""),
    "a length with a sign": (b"13", b"+13"),
    "a length below zero": (b"13", b"-13"),
    "a length in hexadecimal": (b"13", b"0xd"),
    "a length with a fraction": (b"13", b"13.0"),
    "a length with an exponent": (b"13", b"1e1"),
    "a length with an underscore": (b"13", b"1_3"),
    "a length with a blank": (b"13", b"1 3"),
    "a length behind a tab": (b" 13", b"\t13"),
    "a length in words": (b"13", b"thirteen"),
    "a length in other digits": (b"13", "\uff11\uff13".encode()),
    "a length in digits of Latin-1": (b"13", b"1\xb3"),
    "a length of a megabyte": (b"13", b"1048576"),
    "a length of many digits": (b"13", b"0000013"),
    "an OPTIONS with a body": (b"POST", b"OPTIONS"),
    "a body that is not all there": (b"13", b"14"),
}
CASES = [
    pytest.param(data, old, new, id=name)
    for data, cases in ((GET, NOT_PLAIN_LINES), (GET, NOT_PLAIN_FIELDS), (POST, NOT_PLAIN_BODIES))
    for name, (old, new) in cases.items()
]


@pytest.mark.parametrize(("data", "old", "new"), CASES)
def test_not_plain_is(data, old, new):
    assert old in data
    assert parse_whole(data.replace(old, new, 1)) is None


@pytest.mark.parametrize("data", [GET, POST], ids=["GET", "POST"])
def test_a_head_that_is_not_whole_may_become_that_of_a_plain_request(data):
    head = data.index(b"\r\n\r\n") + 4
    assert [may_become_simple(data[:size]) for size in range(head)] == [True] * head
    assert [parse_simple_request(data[:size]) for size in range(head)] == [None] * head
    assert not may_become_simple(data[:head])


def test_a_body_that_is_not_whole_is_told_by_the_requests_size():
    head = len(POST) - len(BODY)
    for size in range(head, len(POST) + 1):
        request = parse_simple_request(POST[:size])
        assert request is not None
        assert (request.body, request.total_bytes) == (POST[head:size], len(POST))


@pytest.mark.parametrize(
    "data",
    [
        *(b"<policy-file-request/>", b"<", b"\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0", b"HEAD /", b"GETS", b"get /"),
        *(b"GET x", b"GET /\n\n", b"GET / HTTP/1.1\n\r\n", b"GET / HTTP/1.1\r\n\n", b"GET / HTTP/1.1\r\nA: b\n\n"),
    ],
)
def test_what_tornado_can_respond_to_or_nobody_waits_for(data):
    assert not may_become_simple(data)


@pytest.mark.parametrize("data", [GET, POST], ids=["GET", "POST"])
def test_a_request_is_not_plain_before_its_last_byte_is_there(data):
    assert [parse_whole(data[:size]) for size in range(len(data))] == [None] * len(data)
    assert plain(data).total_bytes == len(data)


@pytest.mark.parametrize(
    "data", [b"<policy-file-request/>\0", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
def test_other_protocols_are_not_plain(data):
    assert parse_whole(data) is None


# -- Tornado's HTTP and h11 read the same ------------------------------------------------------------------------------


@dataclasses.dataclass
class Seen:
    """A request as Tornado's HTTP saw it."""

    start_line: RequestStartLine
    fields: list[tuple[str, str]]
    body: bytes = b""


class TornadosReading(HTTPServerConnectionDelegate):
    """Answers every request that comes on a connection, and remembers it."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.closed = asyncio.Event()

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return _Reading(self.seen, request_conn)

    def on_close(self, server_conn: object) -> None:
        self.closed.set()


class _Reading(HTTPMessageDelegate):
    def __init__(self, seen: list[Seen], connection: HTTPConnection) -> None:
        self._seen = seen
        self._connection = connection

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        assert isinstance(start_line, RequestStartLine)
        HTTPServerRequest(start_line=start_line, headers=headers, connection=self._connection)  # which may refuse it
        fields = [(name.lower(), value) for name, value in headers.get_all()]
        self._seen.append(Seen(start_line, fields))

    def data_received(self, chunk: bytes) -> None:
        self._seen[-1].body += chunk

    def finish(self) -> None:
        self._connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), HTTPHeaders({"Content-Length": "0"}))
        self._connection.finish()


NEXT = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n"


async def read_by_tornado(data: bytes) -> list[Seen]:
    """The requests that Tornado's HTTP finds in what a client sends before it closes."""
    theirs, ours = socket.socketpair()
    reading = TornadosReading()
    with theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        HTTP1ServerConnection(IOStream(ours)).start_serving(reading)
        async with limit():
            await reading.closed.wait()
    return reading.seen


def read_by_h11(data: bytes) -> list[tuple[str, str, list[tuple[str, str]], bytes]]:
    """The requests that h11 finds in what a client sends before it closes: method, target, headers, body."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    connection.receive_data(b"")
    found: list[tuple[str, str, list[tuple[str, str]], bytes]] = []
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            assert event.http_version == b"1.1"
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
            found.append((event.method.decode(), event.target.decode(), headers, b""))
        elif isinstance(event, h11.Data):
            found[-1] = (*found[-1][:3], found[-1][3] + event.data)
        elif isinstance(event, h11.EndOfMessage):
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
        elif event is h11.PAUSED:
            connection.start_next_cycle()
        else:
            assert isinstance(event, h11.ConnectionClosed)
            return found


NAMES = st.sampled_from(
    ["Accept", "Cookie", "Origin", "User-Agent", "X-Real-Ip", "Content-Type", "x_y", "Upgrade", "a"]
)
ODD_NAMES = st.sampled_from(
    ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "host", "TE", "X Y"]
)
TOKENS = st.text("abcXYZ019-_.~!$&'()*+,;=:@%/?#[]\" ", max_size=12)
ODD_BYTES = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\0", b"\x0b", b"\x7f", b"\x80", b"\xff"),
        *(b":", b",", b";", b"0", b"1", b"+", b"-", b"&", b"/", b"?", b"%", b"_"),
        *(b"chunked", b"GET ", b"HTTP/1.1", b"Content-Length: 3\r\n"),
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is plain, and then, in half of the cases, is changed somewhere."""
    method = draw(st.sampled_from(["GET", "POST", "OPTIONS"]))
    body = draw(st.binary(max_size=20) | st.just(NEXT)) if method == "POST" else b""
    fields = draw(st.lists(st.tuples(NAMES, TOKENS), max_size=4, unique_by=lambda field: field[0]))
    fields.insert(
        draw(st.integers(0, len(fields))), ("Host", draw(st.sampled_from(["x", "example.com:80", "1.2.3.4"])))
    )
    if method == "POST":
        fields.insert(draw(st.integers(0, len(fields))), ("Content-Length", str(len(body))))
    if draw(st.integers(0, 4)) == 0:
        value = draw(TOKENS | st.sampled_from(["0", "3", "chunked", "close", "keep-alive", "Upgrade", "100-continue"]))
        fields.insert(draw(st.integers(0, len(fields))), (draw(ODD_NAMES), value))
    path = "/" + draw(TOKENS).replace(" ", "")
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    data = "\r\n".join(lines).encode() + body
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 2)))
        data = data[:start] + draw(ODD_BYTES | st.just(b"") | st.binary(max_size=1)) + data[end:]
    return data


def test_what_is_plain_reads_the_same_in_tornados_http_and_in_h11():
    """With the same end: the next request begins where ours says so. Two readers that have nothing in common: one of
    a proxy's kind and the one that reads what is not plain."""
    counts = {True: 0, False: 0}
    with asyncio.Runner() as runner:

        @settings(max_examples=400)
        @given(requests())
        def check(data: bytes) -> None:
            request = parse_whole(data)
            counts[request is not None] += 1
            event(f"plain: {request is not None}")
            if request is None:
                return
            first, following = runner.run(read_by_tornado(data[: request.total_bytes] + NEXT))
            assert first.start_line == (request.method, request.uri, "HTTP/1.1")
            assert first.fields == list(request.headers.items())
            assert first.body == request.body
            assert following == Seen(RequestStartLine("GET", "/next", "HTTP/1.1"), [("host", "next")])
            headers = list(request.headers.items())
            assert read_by_h11(data[: request.total_bytes] + NEXT) == [
                (request.method, request.uri, headers, request.body),
                ("GET", "/next", [("host", "next")], b""),
            ]

        check()
    assert counts[True] > 50
    assert counts[False] > 50


@settings(max_examples=300)
@given(requests())
def test_an_application_can_be_given_each_request_without_a_query(data):
    request = parse_simple_request(data)
    if request is not None and "?" not in request.uri:
        made = ContextRequest(request.method, request.uri, request.headers, Client("192.0.2.1", "http", ""), 0.0)
        made.parse()
        assert (made.path, made.host) == (request.uri, request.headers["host"])


# -- The headers of the request before ---------------------------------------------------------------------------------


def read(request: SimpleRequest | None) -> tuple[object, ...] | None:
    if request is None:
        return None
    return request.method, request.uri, dict(request.headers), request.body, request.total_bytes


def test_headers_that_are_those_of_the_request_before_are_not_parsed_again():
    last = plain(POST).headers
    again = parse_simple_request(POST.replace(b"/a/b", b"/c"), last)
    assert again is not None
    assert again.headers is last
    assert read(again) == read(plain(POST.replace(b"/a/b", b"/c")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\r\n\r\n", b"\r\nX: 1\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nHost: y\r\n\r\n"),
        (b"\r\nCookie: a=1; b=2", b""),
        (b"Host: ", b"X: 1\r\nHost: "),
        (b"Cookie", b"cookie"),
        (b": 13", b": 12"),
        (b": 13", b": 1"),
        (b"\r\n\r\n", b"\r\n"),
        (b"POST", b"GET"),
        (b"/a/b", b"/?" + 101 * b"&"),
        (b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_a_request_that_differs_from_that_before_reads_as_if_it_were_the_first(old, new):
    data = POST.replace(old, new, 1)
    assert data != POST
    assert read(parse_simple_request(data, plain(POST).headers)) == read(parse_simple_request(data))


@settings(max_examples=300)
@given(requests(), requests(), st.booleans())
def test_no_request_reads_otherwise_behind_another(before, data, has_its_headers):
    first = parse_simple_request(before)
    if first is None:
        return
    if has_its_headers:
        data = data.partition(b"\r\n")[0] + b"\r\n" + before.partition(b"\r\n")[2] + data
    assert read(parse_simple_request(data, first.headers)) == read(parse_simple_request(data))


# -- What it costs -----------------------------------------------------------------------------------------------------

SIZE = 1 << 16
HOSTILE: dict[str, Callable[[int], bytes]] = {
    "a path": lambda size: b"GET /" + size * b"x",
    "a path of arguments": lambda size: b"GET /?" + size * b"&" + GET[GET.index(b" HTTP") :],
    "a value": lambda size: GET[:-4] + size * b"x",
    "a value of blanks": lambda size: GET[:-4] + size * b" ",
    "a value of blanks, whole": lambda size: GET[:-4] + size * b" " + b"\r\n\r\n",
    "a name": lambda size: GET[:-2] + size * b"x",
    "names without colons": lambda size: GET[:-2] + size // 3 * b"x\r\n",
    "fields": lambda size: GET[:-2] + size // 4 * b"X:\r\n",
    "fields, whole": lambda size: GET[:-2] + size // 4 * b"X:\r\n" + b"\r\n",
    "fields of many names": lambda size: GET[:-2] + b"".join(b"%x:\r\n" % number for number in range(size // 7)),
    "fields of many names, whole": lambda size: (
        GET[:-2] + b"".join(b"%x:\r\n" % number for number in range(size // 7)) + b"\r\n"
    ),
    "colons": lambda size: GET[:-2] + b"X" + size * b":" + b"\r\n\r\n",
    "CRs": lambda size: GET[:-4] + size * b"\r",
    "a length": lambda size: POST.replace(b"13", size * b"1"),
    "a connection": lambda size: GET.replace(b"Accept: */*", b"Connection: " + size // 12 * b"keep-alive, "),
    "a host": lambda size: GET.replace(b"example.com", size // 2 * b"a."),
    "requests": lambda size: size // len(GET) * GET,
}


def seconds(data: bytes) -> float:
    """The processor's time for one look."""
    rounds = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(10):
            parse_whole(data)
        rounds.append((time.process_time() - started) / 10)
    return min(rounds)


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_the_time_grows_no_faster_than_the_request(make):
    """Sixteen times the bytes may take sixteen times as long, and what the machine adds; not 256 times."""
    assert seconds(make(SIZE)) < 80 * max(seconds(make(SIZE // 16)), 5e-6)
