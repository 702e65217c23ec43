"""Who the client is at the other end of a connection: its peer, or whom a proxy that is believed names.

A proxy names its clients in each request's header, or in a line before the connection's first byte
(:mod:`tornadio.net.proxyprotocol`). Behind such a line the client itself speaks, so its headers are not believed.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from tornado.httputil import HTTPServerRequest

from tornadio.errors import SettingsError
from tornadio.net.addresses import IPNetwork, parse_address

_NOWHERE: Final = "0.0.0.0"  # a peer without an address, on a Unix socket, as Tornado writes it


class ForwardedAddress(NamedTuple):
    """Where a connection comes from that a proxy has announced, in the place of the socket's own address.

    :ivar is_known: whether the proxy knew it; else this is the proxy's.
    """

    host: str
    port: int
    is_known: bool


class Client(NamedTuple):
    """Who sent a request.

    :ivar remote_ip: its address, as ``HTTPServerRequest`` has it.
    :ivar protocol: ``http`` or ``https``, what the client speaks.
    :ivar counted_address: the address that its sessions are counted by; empty where that would be everybody's: on a
        Unix socket, or a listed proxy's that names no client.
    """

    remote_ip: str
    protocol: str
    counted_address: str


class Peers:
    """Which peers are believed about their clients.

    :param xheaders: all (``True``), none, or those with these addresses, or in these networks.
    :raises SettingsError: it is nothing of these.
    """

    def __init__(self, xheaders: bool | Iterable[str]) -> None:
        self._networks: tuple[IPNetwork, ...] = ()
        self._trusts_all = xheaders is True
        if isinstance(xheaders, str | bytes) or not isinstance(xheaders, bool | Iterable):
            raise SettingsError(f"xheaders must be True, False or a list such as ['127.0.0.1'], not {xheaders!r}")
        if not isinstance(xheaders, bool):
            self._networks = tuple(map(_network, xheaders))

    def trusts(self, address: Any) -> bool:
        """Whether the peer of a connection from ``address``, a socket's or a forwarded one, is believed."""
        return not isinstance(address, ForwardedAddress) and (self._trusts_all or self._lists(address))

    def _lists(self, address: Any) -> bool:
        if not self._networks:
            return False
        peer = parse_address(host_of(address))
        return peer is not None and any(peer in network for network in self._networks)

    def client_of(self, address: Any, protocol: str, fields: Mapping[str, str]) -> Client:
        """Who sent a request.

        :param address: where its connection comes from.
        :param protocol: what the connection speaks.
        :param fields: the request's header.
        """
        host = host_of(address)
        if not self.trusts(address):
            is_own = address.is_known if isinstance(address, ForwardedAddress) else host != _NOWHERE
            return Client(host, protocol, host if is_own else "")
        protocol = forwarded_protocol(fields) or protocol
        for named in (fields.get("X-Real-Ip", ""), _last_of(fields, "X-Forwarded-For")):
            if "%" not in named and parse_address(named) is not None:  # a zone is the proxy's, and any text
                return Client(named, protocol, named)
        return Client(host, protocol, "" if self._networks or host == _NOWHERE else host)


def _network(entry: Any) -> IPNetwork:
    """:raises SettingsError: this is no address, nor a network."""
    try:
        return ipaddress.ip_network(entry if isinstance(entry, str) else "")
    except ValueError as error:
        raise SettingsError(
            f"xheaders lists addresses and networks, such as '127.0.0.1' and '10.0.0.0/8', not {entry!r}: {error}"
        ) from None


def host_of(address: Any) -> str:
    """The host in a socket's address, or a forwarded one; as Tornado says it for one without, on a Unix socket."""
    return str(address[0]) if isinstance(address, tuple) and address else _NOWHERE


def forwarded_protocol(fields: Mapping[str, str]) -> str:
    """``http`` or ``https``, as a proxy says it of its client; empty if it doesn't."""
    protocol = _last_of(fields, "X-Scheme", "X-Forwarded-Proto")
    return protocol if protocol in ("http", "https") else ""


def _last_of(fields: Mapping[str, str], *names: str) -> str:
    """Of the first of these fields that is there the last element: what the proxy has added, as Tornado has it."""
    for name in names:
        if name in fields:
            return fields[name].split(",")[-1].strip()
    return ""


def counted_address(request: HTTPServerRequest) -> str:
    """The address that the sessions of a request's client are counted by, empty for none.

    Where not ``SocketServer`` serves, it is all that is known of the client.
    """
    context = getattr(request.connection, "context", None)
    return str(getattr(context, "counted_address", request.remote_ip))


def is_forwarded(request: HTTPServerRequest) -> bool:
    """Whether a request came over a connection that a proxy has announced: not from the proxy, then."""
    context = getattr(request.connection, "context", None)
    return isinstance(getattr(context, "address", None), ForwardedAddress)
