"""What connect accepts, and what it says of the rest: at once, before anything is awaited."""

from __future__ import annotations

import base64
import ssl
from typing import Any

import pytest

import tornadio
from tests.internals import client_options
from tornadio.errors import SettingsError

URL = "ws://example.com/socket.io"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("transports", "websocket", r"must be a list, such as \['websocket'\]"),
        ("transports", [], "must name at least one of websocket"),
        ("transports", ["web-socket"], "did you mean 'websocket'"),
        ("transports", ["flashsocket"], "no transport 'flashsocket'"),
        ("json", "bare", "must be 'marked' or 'plain', not 'bare'"),
        ("first_frame", "none", "must be 'session_id' or 'message'"),
        ("first_frame", "message", r"needs transports=\['websocket'\]"),
        ("origin", "http://a\r\nX: y", "newline"),
        ("headers", {"X-A": "b\nc"}, "the value of X-A has a newline"),
        ("headers", {"X A": "b"}, "'X A' is no name of a header"),
        ("headers", {"X-A: b\r\nX-C": "d"}, "no name of a header"),
        ("headers", {"X-A": 5}, "names and values are str"),
        ("headers", [("X-A",)], "a dict, or a list of pairs"),
        ("headers", {"Sec-WebSocket-Key": "x"}, "made by the client itself"),
        ("headers", {"Content-Length": "5"}, "made by the client itself"),
        ("cookies", {"a": "b;c"}, "percent-encode it"),
        ("cookies", {"a\r\n": "b"}, "no name of a cookie"),
        ("cookies", "a=b", "must be a dict"),
        ("ssl", True, "must be an ssl.SSLContext"),
        ("ssl", ssl.create_default_context(), "this one is without TLS"),
        ("proxy", "socks5://proxy:1080", "proxy must begin with http://"),
        ("compression", {"levels": 5}, "no field 'levels': did you mean 'level'"),
        ("compression", 5, "must be True, tornadio.Compression"),
        ("open_timeout", 0, "number of seconds, above 0"),
        ("silence_timeout", float("inf"), "number of seconds, above 0 and finite"),
        ("close_timeout", "5", "number of seconds"),
        ("min_delay", 61, "is larger than max_delay"),
        ("max_delay", True, "number of seconds"),
        ("max_message_size", 0, "whole number of at least 1"),
        ("max_payload_size", 1.5, "whole number of at least 1"),
        ("max_send_buffer", None, "whole number of at least 1"),
        ("trace", "yes", "must be a function"),
    ],
)
def test_a_wrong_option_says_what_is_right(name, value, message):
    options: dict[str, Any] = {name: value}
    with pytest.raises(SettingsError, match=message):
        tornadio.connect(URL, **options)


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="pings"):
        tornadio.connect(URL, pings=True)  # type: ignore[call-arg]


def test_cookies_are_those_of_a_header_and_the_option():
    options = client_options(tornadio.connect(URL, headers=[("cookie", "a=1; b=2"), ("X", "y")], cookies={"b": "3"}))
    assert options.cookies == {"a": "1", "b": "3"}
    assert options.headers == (("X", "y"),)


def test_origin_and_authorization_are_headers():
    url = "ws://user:pw@example.com/s"
    options = client_options(tornadio.connect(url, origin="https://www.example.com"))
    assert options.headers == (("Origin", "https://www.example.com"), ("Authorization", "Basic dXNlcjpwdw=="))
    options = client_options(tornadio.connect(url, headers={"authorization": "Bearer x"}))
    assert options.headers == (("authorization", "Bearer x"),)


def test_no_representation_shows_a_password():
    connector = tornadio.connect(
        "ws://user:secret@example.com/socket.io?token=secret",
        proxy="http://user:secret@proxy.example.com",
        headers={"X-Token": "secret"},
        cookies={"session": "secret"},
    )
    credentials = base64.b64encode(b"user:secret").decode()
    for text in (repr(connector), repr(client_options(connector))):
        assert "example.com" in text
        assert "secret" not in text
        assert credentials not in text
