"""TCP and TLS connections to a server, directly or through a proxy."""

import asyncio
import itertools
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from tornadio.client.lookups import look_up
from tornadio.client.options import Options
from tornadio.client.response import ResponseLostError, exchange
from tornadio.client.url import Proxy, Target
from tornadio.errors import ConnectError
from tornadio.logs import error_text
from tornadio.net.sockets import detach_socket, stop_watching

# Seconds after which the next address is tried beside the one before (RFC 8305, section 5).
_NEXT_ADDRESS_DELAY: Final = 0.25

Address = tuple[socket.AddressFamily, Any]


# Of OpenSSL (X509_V_ERR_...): whoever has signed the certificate is not known. To name an authority mends these alone.
_UNKNOWN_ISSUER: Final = (18, 19, 20, 21)


class UnreachableError(ConnectError):
    """The server can't be reached by any transport: no address, no TCP connection, no TLS, or the proxy refuses."""


async def open_stream(options: Options, begin_step: Callable[[str], None]) -> IOStream:
    """Connect to the server. No socket is left behind by an error or a cancellation.

    :param begin_step: called with what is being waited for.
    :raises UnreachableError: says what went wrong, and where.
    """
    target, proxy = options.target, options.proxy
    begin_step(f"connecting to {proxy or target.authority}")
    if proxy is None:
        sock = await _open_socket(target.host, target.port)
    else:
        sock = await _open_tunnel(proxy, target, begin_step)
    if options.ssl is None:
        return IOStream(sock)
    begin_step(f"the TLS handshake with {target.authority}")
    return await _start_tls(sock, options.ssl, target)


# -- TCP ---------------------------------------------------------------------------------------------------------------


async def _open_socket(host: str, port: int) -> socket.socket:
    """Connect to the first address of a host that can be reached ("Happy Eyeballs", RFC 8305)."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    addresses = await _resolve(host, port)
    errors: list[str] = []
    attempts: set[asyncio.Task[socket.socket]] = set()
    waiting = _interleave(addresses)
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_connect(*waiting.pop(0))))
            done, _ = await asyncio.wait(
                attempts, timeout=_NEXT_ADDRESS_DELAY if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                if attempt.exception() is None:
                    attempts.discard(attempt)
                    return attempt.result()
            attempts -= done
            errors += [_os_error_text(attempt.exception()) for attempt in done]
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_close_late)
    raise UnreachableError(f"can't connect to {where}: {', '.join(dict.fromkeys(errors))}")


async def _resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host."""
    try:
        try:  # without the thread that waits for the resolver
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:  # a name
            found = await look_up(host, port)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error_text(error)
        raise UnreachableError(f"can't resolve {host}: {reason}") from None
    return [(family, address) for family, _, _, _, address in found]


def _interleave(addresses: list[Address]) -> list[Address]:
    """Return addresses by turns of their families, beginning with the first one's (RFC 8305, section 4)."""
    families = dict.fromkeys(family for family, _ in addresses)
    by_family = [[address for address in addresses if address[0] == family] for family in families]
    return [address for turn in itertools.zip_longest(*by_family) for address in turn if address is not None]


async def _connect(family: socket.AddressFamily, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_late(attempt: "asyncio.Task[socket.socket]") -> None:
    """Close the socket of an attempt that has succeeded beside another one, or while it was being cancelled."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


def _os_error_text(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror and error.errno is not None:
        return os.strerror(error.errno)  # asyncio's text has the address in it once more
    return "" if error is None else error_text(error)


# -- Proxies and TLS ---------------------------------------------------------------------------------------------------


async def _open_tunnel(proxy: Proxy, target: Target, begin_step: Callable[[str], None]) -> socket.socket:
    """Connect to the server through a proxy, by CONNECT (RFC 9110, section 9.3.6)."""
    try:
        stream = IOStream(await _open_socket(proxy.host, proxy.port))
    except UnreachableError as error:
        raise UnreachableError(f"{error} (that is the proxy)") from None
    begin_step(f"waiting for the proxy {proxy}")
    headers = [("Host", target.connect_authority)]
    if proxy.authorization:
        headers.append(("Proxy-Authorization", proxy.authorization))
    try:
        response = await exchange(stream, "CONNECT", target.connect_authority, headers, detached=range(200, 300))
        if not 200 <= response.status < 300:
            raise UnreachableError(
                f"the proxy {proxy} refused to connect to {target.connect_authority}: {response}"
                + _hint(proxy, response.status),
                status=response.status,
                text=response.text,
                is_permanent=400 <= response.status < 500,
            )
        stop_watching(stream)
        return detach_socket(stream)
    except ResponseLostError as error:
        raise UnreachableError(f"the proxy {proxy} gave no answer to CONNECT: {error}") from None
    finally:
        stream.close()


def _hint(proxy: Proxy, status: int) -> str:
    if status != 407:
        return ""
    if proxy.authorization:
        return "; user or password in the option proxy are wrong, or it wants another scheme than Basic"
    return "; name a user in the option proxy: http://user:password@host:port"


async def _start_tls(sock: socket.socket, context: ssl.SSLContext, target: Target) -> IOStream:
    try:
        stream = SSLIOStream(
            context.wrap_socket(sock, server_hostname=target.server_name, do_handshake_on_connect=False),
            ssl_options=context,
        )
    except (OSError, ValueError) as error:  # the peer has closed already, or the context checks no such name
        sock.close()
        raise UnreachableError(f"TLS with {target.authority} failed: {error_text(error)}") from None
    try:
        await stream.wait_for_handshake()
    except BaseException as error:
        stream.close()
        if stream.error is not None:
            stream.error.with_traceback(None)  # which refers to the stream: break the reference cycle
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"the certificate of {target.authority} was not accepted: {error.verify_message.removesuffix('.')}"
            if error.verify_code in _UNKNOWN_ISSUER:
                reason += (
                    "; for an authority of one's own give its certificate: ssl=ssl.create_default_context(cafile=FILE)"
                )
            raise UnreachableError(reason, is_permanent=True) from None
        if isinstance(error, StreamClosedError | OSError):
            real = error.real_error if isinstance(error, StreamClosedError) else error
            reason = "the server closed the connection" if real is None else error_text(real)
            raise UnreachableError(
                f"TLS with {target.authority} failed: {reason}; the URL of a server without TLS begins with ws:// or "
                "http://"
            ) from None
        raise
    return stream
