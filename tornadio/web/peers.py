"""The client's address and protocol: those of a connection's peer, or what a trusted proxy says.

A proxy names its clients in headers of each request, or in a PROXY line before the connection's first byte
(:mod:`tornadio.net.proxyprotocol`). Behind such a line all bytes are the client's own, so its headers are not trusted.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from tornado.httputil import HTTPServerRequest

from tornadio.errors import SettingsError
from tornadio.net.addresses import IPNetwork, parse_address

_NOWHERE: Final = "0.0.0.0"  # a peer without an address, on a Unix socket, as Tornado writes it


class ForwardedAddress(NamedTuple):
    """A client's address from a PROXY line, in the place of the socket's peer address.

    :ivar is_known: whether the proxy knew it; if not, the address is the proxy's (``PROXY UNKNOWN``).
    """

    host: str
    port: int
    is_known: bool


class Client(NamedTuple):
    """The client that sent a request.

    :ivar remote_ip: its address, as ``HTTPServerRequest`` has it.
    :ivar protocol: ``http`` or ``https``, what the client speaks.
    :ivar counted_address: the address that its sessions are counted by; empty where all clients would share it: on a
        Unix socket, or a listed proxy's that names no client.
    """

    remote_ip: str
    protocol: str
    counted_address: str


class Peers:
    """The peers that are trusted to name their clients: the proxies of the argument ``xheaders``.

    :param xheaders: every peer (``True``), none (``False``), or those with these addresses, or in these networks.
    :raises SettingsError: any other value.
    """

    def __init__(self, xheaders: bool | Iterable[str]) -> None:
        self._networks: tuple[IPNetwork, ...] = ()
        self._trusts_all = xheaders is True
        if isinstance(xheaders, str | bytes) or not isinstance(xheaders, bool | Iterable):
            raise SettingsError(f"xheaders must be True, False or a list such as ['127.0.0.1'], not {xheaders!r}")
        if not isinstance(xheaders, bool):
            self._networks = tuple(map(_network, xheaders))

    def trusts(self, address: Any) -> bool:
        """Whether the peer of a connection is trusted.

        :param address: the socket's peer address, or a :class:`ForwardedAddress`, whose peer is a client.
        """
        return not isinstance(address, ForwardedAddress) and (self._trusts_all or self._is_listed(address))

    def _is_listed(self, address: Any) -> bool:
        if not self._networks:
            return False
        peer = parse_address(host_of(address))
        return peer is not None and any(peer in network for network in self._networks)

    def client_of(self, address: Any, protocol: str, headers: Mapping[str, str]) -> Client:
        """Return the client that sent a request.

        :param address: the connection's: the socket's peer address, or a :class:`ForwardedAddress`.
        :param protocol: the connection's: ``http``, or ``https`` over TLS.
        :param headers: the request's.
        """
        host = host_of(address)
        if not self.trusts(address):
            is_own = address.is_known if isinstance(address, ForwardedAddress) else host != _NOWHERE
            return Client(host, protocol, host if is_own else "")
        protocol = forwarded_protocol(headers) or protocol
        for named in (headers.get("X-Real-Ip", ""), _nearest_proxy_value(headers, "X-Forwarded-For")):
            if "%" not in named and parse_address(named) is not None:  # a zone may be any text
                return Client(named, protocol, named)
        return Client(host, protocol, "" if self._networks or host == _NOWHERE else host)


def _network(entry: Any) -> IPNetwork:
    """Parse an entry of ``xheaders`` as a network; an address is a network of one.

    :raises SettingsError: neither a network nor an address.
    """
    try:
        return ipaddress.ip_network(entry if isinstance(entry, str) else "")
    except ValueError as error:
        raise SettingsError(
            f"xheaders lists addresses and networks, such as '127.0.0.1' and '10.0.0.0/8', not {entry!r}: {error}"
        ) from None


def host_of(address: Any) -> str:
    """Return the host of a socket's address or a forwarded one; ``0.0.0.0``, as Tornado has it, on a Unix socket."""
    return str(address[0]) if isinstance(address, tuple) and address else _NOWHERE


def connection_address(request: HTTPServerRequest) -> Any:
    """Return the address of a request's connection: the socket's peer address, or a :class:`ForwardedAddress`; ``None``
    where the server keeps none.
    """
    return getattr(getattr(request.connection, "context", None), "address", None)


def connection_host(address: Any) -> str:
    """Return the host of a TCP connection's peer; empty on a Unix socket, and behind a PROXY line."""
    return "" if isinstance(address, ForwardedAddress) or not isinstance(address, tuple) else host_of(address)


def forwarded_protocol(headers: Mapping[str, str]) -> str:
    """Return the client's protocol in a proxy's headers, ``http`` or ``https``; empty if they have none."""
    protocol = _nearest_proxy_value(headers, "X-Scheme", "X-Forwarded-Proto")
    return protocol if protocol in ("http", "https") else ""


def _nearest_proxy_value(headers: Mapping[str, str], *names: str) -> str:
    """Return the last value of the first of these headers that is present: that of the nearest proxy, as
    ``tornado.httpserver`` reads it. A client can send any values before that one.
    """
    for name in names:
        if name in headers:
            return headers[name].split(",")[-1].strip()
    return ""


def counted_address(request: HTTPServerRequest) -> str:
    """Return the address that the sessions of a request's client are counted by, empty for none.

    On a server other than ``SocketServer``, which sets no ``counted_address``, that is the request's ``remote_ip``.
    """
    counted = getattr(getattr(request.connection, "context", None), "counted_address", None)
    return str(request.remote_ip if counted is None else counted)


def is_forwarded(request: HTTPServerRequest) -> bool:
    """Whether a request's connection began with a PROXY line: a client of the proxy sent it, not the proxy itself."""
    return isinstance(connection_address(request), ForwardedAddress)
