"""The line that announces a proxy's client, byte by byte."""

from __future__ import annotations

import pytest

from tornadio.errors import ProtocolError
from tornadio.net.proxyprotocol import ProxyLine, parse

# The examples of proxy-protocol.txt, section 2.1, and the longest lines that it names.
LINES = {
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n": ("192.168.0.1", 56324),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": ("255.255.255.255", 65535),
    b"PROXY TCP6 2001:db8::1 ::1 1 0\r\n": ("2001:db8::1", 1),
    b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(b"f...f", b"ffff:" * 5 + b"ffff"): (
        ":".join(["ffff"] * 8),
        65535,
    ),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(b"f...f", b"ffff:" * 5 + b"ffff"): None,
}


@pytest.mark.parametrize(("line", "source"), LINES.items())
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_line_is_read_as_far_as_it_goes(line, source, rest):
    assert parse(line + rest) == ProxyLine(len(line), source)


@pytest.mark.parametrize("line", LINES)
def test_half_a_line_is_waited_for(line):
    for size in range(len(line)):
        assert parse(line[:size]) is None


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
        b"PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n",
        b"PROXY TCP4 192.168.0.256 192.168.0.11 1 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0 1 443\r\n",
        b"PROXY TCP4 192.168.00.1 192.168.0.1 1 443\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n",
        b"PROXY TCP6 192.168.0.1 192.168.0.11 1 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
        b"PROXY UDP4 192.168.0.1 192.168.0.11 1 443\r\n",
        b"PROXY tcp4 192.168.0.1 192.168.0.11 1 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 1 443\n\r\n",
        b"PROXY UNKNOWN\x00\r\n",
        b"PROXY UNKNOWN\xff\r\n",
        b"PROXY / HTTP/1.1\r\n",
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        b"PROXY UNKNOWN " + b"x" * 93,
    ],
)
def test_what_is_no_such_line_is_told(line):
    with pytest.raises(ProtocolError, match="PROXY line"):
        parse(line)


def test_the_longest_line_has_107_bytes():
    line = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
    assert len(line) == 107
    assert parse(line + b"\r\n") == ProxyLine(107, None)
    assert parse(line[:-1]) is None
