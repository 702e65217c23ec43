"""URLs of resources and proxies."""

from __future__ import annotations

import pytest

from tornadio.client.url import parse_proxy, parse_url
from tornadio.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "extra", "is_secure", "host", "port", "authority", "path"),
    [
        ("ws://example.com/socket.io", "", False, "example.com", 80, "example.com", "/socket.io/websocket"),
        ("http://example.com:80/socket.io/", "", False, "example.com", 80, "example.com", "/socket.io/websocket"),
        ("wss://Example.COM/a/b", "", True, "example.com", 443, "example.com", "/a/b/websocket"),
        ("https://example.com:8443/s", "/123", True, "example.com", 8443, "example.com:8443", "/s/123/websocket"),
        ("ws://[::1]:8001/s", "-7", False, "::1", 8001, "[::1]:8001", "/s-7/websocket"),
        ("ws://[fe80::1%25eth0]:8001/s", "", False, "fe80::1%eth0", 8001, "[fe80::1]:8001", "/s/websocket"),
        ("ws://[fe80::1%eth0]/s", "", False, "fe80::1%eth0", 80, "[fe80::1]", "/s/websocket"),
        ("wss://example.com./s", "", True, "example.com.", 443, "example.com", "/s/websocket"),
        ("ws://bücher.example/é?a=b&c", "", False, "xn--bcher-kva.example", 80, "xn--bcher-kva.example", None),
        ("ws://example.com/websocket", "", False, "example.com", 80, "example.com", "/websocket/websocket"),
    ],
)
def test_a_url_names_server_and_resource(url, extra, is_secure, host, port, authority, path):
    target = parse_url(url, extra)
    assert target[:3] == (is_secure, host, port)
    assert target.authority == authority
    assert target.request_target("websocket") == (path or "/%C3%A9/websocket?a=b&c")


def test_the_query_is_behind_each_path():
    target = parse_url("ws://example.com/socket.io?token=a%20b")
    assert target.request_target("xhr-polling", "/id/send") == "/socket.io/xhr-polling/id/send?token=a%20b"


def test_a_user_is_sent_as_basic_authorization():
    target = parse_url("wss://Aladdin:open%20sesame@example.com/s")
    assert target.authorization == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # the example of RFC 7617, section 2
    assert parse_proxy("http://Aladdin:open%20sesame@[::1]:3128").authorization == target.authorization
    assert str(target) == "wss://example.com/s"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "url must be a str"),
        ("example.com/socket.io", "must begin with ws://, wss://, http://, https:// and a host"),
        ("ftp://example.com/socket.io", "must begin with"),
        ("ws:///socket.io", "must begin with"),
        ("ws://example.com", "has no path: it is the resource"),
        ("ws://example.com/", "has no path"),
        (
            "wss://example.com/socket.io/websocket?from=x",
            r"leave '/websocket' away, and say transports=\['websocket'\]",
        ),
        ("ws://example.com:99999/s", "is no URL"),
        ("ws://example.com:0/s", "port 0"),
        ("ws://example.com/s#top", "fragment"),
        ("ws://example.com/so cket", "blank or control character"),
        ("ws://example.com/s\r\nHost: other", "blank or control character"),
        ("ws://" + "ä" * 70 + ".example/s", "no domain name"),
        ("ws://straße.example/s", r"'straße.example': for its character U\+00DF .* write it in ASCII, as xn--"),
        ("ws://a\u200db.example/s", r"U\+200D"),
    ],
)
def test_a_wrong_url_says_what_is_right(url, message):
    with pytest.raises(SettingsError, match=message):
        parse_url(url)


@pytest.mark.parametrize("extra", ["/a b", "/a?b", "/a#b", "/a\n", 5])
def test_extra_is_part_of_a_path(extra):
    with pytest.raises(SettingsError, match="extra must be a part of a path"):
        parse_url("ws://example.com/s", extra)


@pytest.mark.parametrize("proxy", ["https://proxy:1", "socks5://proxy:1", "proxy:3128", "http://proxy:1/path", 3128])
def test_a_wrong_proxy_says_what_is_right(proxy):
    with pytest.raises(SettingsError, match=r"http://proxy\.example\.com:3128"):
        parse_proxy(proxy)


def test_errors_quote_no_password():
    for url in ("ftp://user:secret@example.com/s", "ws://user:secret@example.com:0/s", "ws://user:secret@example.com"):
        with pytest.raises(SettingsError) as raised:
            parse_url(url)
        assert "secret" not in str(raised.value)
