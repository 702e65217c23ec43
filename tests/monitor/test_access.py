"""Who is let in, decided by a request's peer, headers and origin."""

from __future__ import annotations

import pytest

from tornadio.monitor.access import is_same_origin
from tornadio.web.local import is_local, is_loopback_name

LOCAL = {"Host": "localhost:8001"}


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8001", "LOCALHOST.", "a.localhost", "127.0.0.1:80", "[::1]:1"]
)
def test_a_program_on_this_machine_is_local(peer: str, host: str) -> None:
    assert is_local("HTTP/1.1", peer, peer, {"Host": host})


@pytest.mark.parametrize(
    "peer", ["", "0.0.0.0", "10.0.0.1", "192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7", "localhost"]
)
def test_another_peer_is_not(peer: str) -> None:
    assert not is_local("HTTP/1.1", peer, peer, LOCAL)


def test_a_client_that_a_proxy_has_named_is_not() -> None:
    assert not is_local("HTTP/1.1", "127.0.0.1", "192.0.2.7", LOCAL)
    assert not is_local("HTTP/1.1", "192.0.2.7", "127.0.0.1", LOCAL)
    assert not is_local("HTTP/1.1", "127.0.0.1", "127.0.0.2", LOCAL)


@pytest.mark.parametrize(
    "header",
    [
        *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "x-forwarded-anything"),
        *("X-Real-IP", "X-Scheme", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"),
    ],
)
@pytest.mark.parametrize("value", ["", "127.0.0.1"])
def test_a_request_with_a_header_of_a_proxy_is_not(header: str, value: str) -> None:
    assert not is_local("HTTP/1.1", "127.0.0.1", "127.0.0.1", {**LOCAL, header: value})


@pytest.mark.parametrize(
    "host",
    [
        *(
            "example.com",
            "localhost.example.com",
            "notlocalhost",
            "127.0.0.1.example.com",
            "192.0.2.7",
            "[2001:db8::1]",
        ),
        *("", "localhost@example.com", "example.com:80", "0.0.0.0"),
    ],
)
def test_a_name_of_another_host_is_not(host: str) -> None:
    assert not is_local("HTTP/1.1", "127.0.0.1", "127.0.0.1", {"Host": host})
    assert not is_local("HTTP/1.1", "127.0.0.1", "127.0.0.1", {})


def test_http_1_0_is_a_proxy_s() -> None:
    assert not is_local("HTTP/1.0", "127.0.0.1", "127.0.0.1", LOCAL)


def test_the_connection_header_of_an_nginx_that_passes_websockets_on_is() -> None:
    for value, expected in {"upgrade": False, "Upgrade": True, "keep-alive, Upgrade": True, "close": True}.items():
        assert is_local("HTTP/1.1", "127.0.0.1", "127.0.0.1", {**LOCAL, "Connection": value}) is expected


def test_names_of_the_loopback_interface() -> None:
    assert is_loopback_name("localhost.")
    assert not is_loopback_name("")


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ({}, "example.com"),
        ({"Origin": "https://example.com"}, "example.com"),
        ({"Origin": "https://example.com"}, "example.com:443"),
        ({"Origin": "http://example.com:8001"}, "example.com:8001"),
        ({"Origin": "http://EXAMPLE.com"}, "example.com:80"),
        ({"Origin": "http://[::1]:8001"}, "[::1]:8001"),
        ({"Sec-Fetch-Site": "same-origin"}, "example.com"),
        ({"Sec-Fetch-Site": "none"}, "example.com"),
        ({"Referer": "https://example.com/monitor/"}, "example.com"),
    ],
)
def test_the_own_page_and_programs_may_connect(headers: dict[str, str], host: str) -> None:
    assert is_same_origin(headers, host)


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ({"Origin": "https://evil.example"}, "example.com"),
        ({"Origin": "https://sub.example.com"}, "example.com"),
        ({"Origin": "http://example.com:8002"}, "example.com:8001"),
        ({"Origin": "https://example.com"}, "example.com:8443"),
        ({"Origin": "null"}, "example.com"),
        ({"Origin": ""}, "example.com"),
        ({"Origin": "https://example.com,https://evil.example"}, "example.com"),
        ({"Sec-Fetch-Site": "same-site"}, "example.com"),
        ({"Sec-Fetch-Site": "cross-site"}, "example.com"),
        ({"Referer": "https://evil.example/?https://example.com/"}, "example.com"),
        ({"Origin": "https://example.com"}, ""),
        ({"Origin": "https://example.com", "Sec-Fetch-Site": "cross-site"}, "other.example"),
    ],
)
def test_other_pages_may_not(headers: dict[str, str], host: str) -> None:
    assert not is_same_origin(headers, host)
