"""Parser for the header of the PROXY protocol, version 1, by which a proxy names its client. Knows no I/O.

HAProxy's ``send-proxy`` writes this line, and nginx's ``proxy_protocol on`` in its stream module, before the client's
first byte. Source: proxy-protocol.txt of HAProxy, section 2.1.
"""

import ipaddress
import re
from typing import Final, NamedTuple

from tornadio.errors import ProtocolError

PREFIX: Final = b"PROXY "

_MAX_LENGTH: Final = 107  # bytes of the longest line, with its CRLF (section 2.1)
_LINE: Final = re.compile(
    r"PROXY (?:UNKNOWN(?: [ -~]*)?|(TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) ([0-9]{1,5}))"
)
_FAMILIES: Final = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}


class ProxyLine(NamedTuple):
    """A complete PROXY line.

    :ivar size: bytes, with the CRLF.
    :ivar source: the client's address and port; ``None`` where the proxy does not know them (``PROXY UNKNOWN``).
    """

    size: int
    source: tuple[str, int] | None


def parse(data: bytes) -> ProxyLine | None:
    """Parse the PROXY line that ``data`` begins with; ``None`` if it is not complete.

    :raises ProtocolError: ``data`` does not begin with a line of this protocol.
    """
    end = data.find(b"\r\n", 0, _MAX_LENGTH)
    if end < 0:
        if len(data) >= _MAX_LENGTH:
            raise ProtocolError(f"a PROXY line ends within {_MAX_LENGTH} bytes")
        return None
    line = _LINE.fullmatch(data[:end].decode("latin-1"))
    if line is None:
        raise ProtocolError("a PROXY line is 'PROXY TCP4 SOURCE DESTINATION PORT PORT', with TCP6, or 'PROXY UNKNOWN'")
    family, source, destination, *ports = line.groups()
    if family is None:  # UNKNOWN: what follows it is to be ignored (section 2.1)
        return ProxyLine(end + 2, None)
    try:
        for address in (source, destination):
            _FAMILIES[family](address)
    except ValueError:
        raise ProtocolError(f"an address in a PROXY line is none of {family}") from None
    if max(map(int, ports)) >= 1 << 16:
        raise ProtocolError("a port in a PROXY line is above 65535")
    return ProxyLine(end + 2, (source, int(ports[0])))
