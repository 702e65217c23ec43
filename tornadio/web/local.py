"""Whether a request was sent by a program on this machine, and passed on by no proxy. Knows no I/O."""

from collections.abc import Mapping
from typing import Final

from tornadio.net.addresses import parse_address
from tornadio.web.origins import host_of

# Headers that proxies, load balancers and CDNs add.
_OF_PROXIES: Final = frozenset(
    {
        *("forwarded", "via", "x-real-ip", "x-scheme", "x-client-ip", "x-cluster-client-ip"),
        *("true-client-ip", "cf-connecting-ip", "fastly-client-ip", "x-envoy-external-address", "x-original-host"),
    }
)
_PREFIXES_OF_PROXIES: Final = ("x-forwarded-", "x-proxyuser-")
# What nginx sends with each request once it passes WebSockets on, as its documentation has it. Browsers write it with a
# capital, and only in a handshake.
_CONNECTION_OF_NGINX: Final = "upgrade"


def is_local(version: str, peer: str, remote_ip: str, headers: Mapping[str, str]) -> bool:
    """Whether a program on this machine has sent a request, and no proxy has passed it on, as far as that shows.

    A proxy on this machine that names neither itself nor its client, keeps or rewrites ``Host`` to a loopback name, and
    speaks HTTP/1.1, looks like a local client: that can't be told from its requests.

    :param version: of HTTP. nginx speaks HTTP/1.0 by default, browsers, curl and Prometheus never do.
    :param peer: the address of the TCP connection's peer, empty if that is a Unix socket, or began with a PROXY line.
    :param remote_ip: the client's, where a trusted proxy may have named it.
    :param headers: the request's. ``Host`` must name the loopback interface: else a page of any site could be
        the client, by DNS rebinding.
    """
    return (
        version == "HTTP/1.1"
        and peer == remote_ip
        and _is_loopback(peer)
        and not any(_is_of_proxy(name.lower()) for name in headers)
        and headers.get("Connection") != _CONNECTION_OF_NGINX
        and is_loopback_name(host_of(headers.get("Host", "")))
    )


def _is_of_proxy(name: str) -> bool:
    return name in _OF_PROXIES or name.startswith(_PREFIXES_OF_PROXIES)


def _is_loopback(text: str) -> bool:
    address = parse_address(text)
    return address is not None and address.is_loopback


def is_loopback_name(name: str) -> bool:
    """Whether a host name is one of the loopback interface (RFC 6761, section 6.3)."""
    name = name.removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)
