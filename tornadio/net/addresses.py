"""IP addresses: parsing, the unit that limits count, and which are internal to a network. Knows no I/O."""

import functools
import ipaddress
from typing import Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# The least that one IPv6 customer is given is a /64, 2**64 addresses (RFC 6177): they count as one.
_IPV6_PREFIX: Final = 64

# Addresses that are not unique on the Internet: those of proxies on this machine or network are among them.
# RFC 1122 (loopback), 1918, 3927 and 6598 for IPv4; 4291 (loopback, link-local) and 4193 for IPv6.
_INTERNAL: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
            *("::1/128", "fe80::/10", "fc00::/7"),
        ),
    )
)


# Characters, with a zone's name. The longest IPv6 address has 45; a longer text would only fill the caches below.
_MAX_LENGTH: Final = 64


def parse_address(text: str) -> IPAddress | None:
    """Parse an IP address, an IPv4-mapped one (RFC 4291, section 2.5.5.2) as IPv4; ``None`` if the text is none."""
    return _parsed(text) if len(text) <= _MAX_LENGTH else None


@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> IPAddress | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@functools.lru_cache(maxsize=1024)
def network_of(text: str) -> str:
    """Return the unit that limits count an address as: its ``/64`` for an IPv6 address, else the address itself."""
    address = parse_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address), _IPV6_PREFIX), strict=False))
    return text if address is None else str(address)


@functools.lru_cache(maxsize=1024)
def is_internal(text: str) -> bool:
    """Whether an address is a loopback, private, shared or link-local one: not a client's on the Internet."""
    address = parse_address(text)
    return address is not None and any(address in network for network in _INTERNAL)
