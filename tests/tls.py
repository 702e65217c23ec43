"""Servers whose connections are encrypted, and the clients' side of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
from pathlib import Path
from typing import Any, cast

import trustme

from tests.appserver import AppServer
from tests.support import ClientStream, Elsewhere, Served


class Certificate:
    """A server's certificate for localhost, and who trusts it."""

    def __init__(self) -> None:
        self._authority = authority = trustme.CA()
        self._certificate = authority.issue_cert("localhost")
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._certificate.configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)

    def give_to_client(self, name: str) -> None:
        """A certificate of the client's own, which the server asks for, and takes none without."""
        self.server.verify_mode = ssl.CERT_OPTIONAL
        self._authority.configure_trust(self.server)
        self._authority.issue_cert(name).configure_cert(self.client)

    def write(self, path: Path) -> None:
        """Into a file, with its key, for a server in a process of its own."""
        self._certificate.private_key_and_cert_chain_pem.write_to_path(path)

    def write_authority(self, path: Path) -> None:
        """Into a file, for a client in a process of its own: who trusts it trusts the server's certificate."""
        self._authority.cert_pem.write_to_path(path)


class TlsClientStream(ClientStream):
    """An encrypted connection. To a FIN without a word of TLS the server's side answers with an alert."""

    @classmethod
    async def connect_to(cls, port: int, certificate: Certificate) -> TlsClientStream:
        streams = await asyncio.open_connection(
            "127.0.0.1", port, limit=1 << 20, ssl=certificate.client, server_hostname="localhost"
        )
        return cls(*streams)

    async def read_to_end(self) -> bytes:
        with contextlib.suppress(ssl.SSLError):
            return await super().read_to_end()
        return b""


@dataclasses.dataclass(frozen=True)
class OverTls(Served):
    """A server whose connections are encrypted."""

    certificate: Certificate = dataclasses.field(default_factory=Certificate)

    async def connect(self) -> ClientStream:
        self.wires.append(await TlsClientStream.connect_to(self.port, self.certificate))
        return self.wires[-1]


@dataclasses.dataclass(frozen=True)
class ElsewhereOverTls(OverTls, Elsewhere):
    """A server in a process of its own, whose connections are encrypted."""

    @classmethod
    def at(cls, server: AppServer, certificate: Certificate) -> ElsewhereOverTls:
        return cls(cast(Any, server), cast(Any, None), [], certificate)
