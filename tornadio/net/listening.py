"""Listening sockets: those that a server binds, and those that it is given."""

import socket
import traceback
from collections.abc import Iterable
from typing import Any

from tornado.netutil import bind_sockets

from tornadio.errors import SettingsError
from tornadio.logs import get_logger

logger = get_logger(__name__)


def bind(port: int, address: str) -> list[socket.socket]:
    """Return sockets that listen on a port, of IPv4 and IPv6 where the address is all of them, or a name of both.

    :param port: 0 is any that is free.
    :param address: ``''`` is all addresses.
    :raises OSError: the port can't be bound, which is logged with what to do.
    """
    try:
        return bind_sockets(port, address)
    except OSError as error:
        _close_sockets(error)
        logger.error(
            "can't listen on port %d (%s): stop what does, or choose another port or address: the application's "
            "settings socket_io_port and socket_io_address, or these arguments of SocketServer",
            port,
            error,
        )
        raise


def _close_sockets(error: OSError) -> None:
    """Close the sockets that Tornado has left to its frame, one that listens already among them."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for local in frame.f_locals.values():
            for each in local if isinstance(local, list) else [local]:
                if isinstance(each, socket.socket):
                    each.close()


def checked_sockets(sockets: Any) -> list[socket.socket]:
    """Check the argument ``sockets``, and return a list of them, which don't block; an empty one for ``None``.

    :raises SettingsError: no sockets, or one that doesn't listen.
    """
    if sockets is None:
        return []
    given = list(sockets) if isinstance(sockets, Iterable) else []
    for each in given:
        if not isinstance(each, socket.socket) or each.fileno() < 0:  # closed
            break
        if not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            break
        each.setblocking(False)
    else:
        if given:
            return given
    raise SettingsError(f"sockets must be a list of socket.socket objects that listen, not {sockets!r}")


def port_of(sock: socket.socket) -> int:
    """Return the port that a socket listens on; 0 for a Unix socket."""
    name = sock.getsockname()
    return int(name[1]) if isinstance(name, tuple) else 0


def name_of(sock: socket.socket) -> str:
    """Return where a socket listens, for people: the path of a Unix socket, else address and port."""
    name = sock.getsockname()
    return f"{name[0]}, port {name[1]}" if isinstance(name, tuple) else str(name)
