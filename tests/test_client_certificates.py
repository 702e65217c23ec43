"""``request.get_ssl_certificate()`` in ``on_open``: the same over all transports."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from tests.clients import HIXIE, HYBI, connect, exchange, greeted
from tests.support import PERSISTENT, Recorder, until
from tests.tls import Certificate, OverTls
from tornadio.settings import PROTOCOLS

NAME = "alice@example.com"


class Asking(Recorder):
    """Knows the certificate, as a dict and in DER; asks again when told to."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.certificates = [(request.get_ssl_certificate(), request.get_ssl_certificate(binary_form=True))]
        super().on_open(request, *args, **kwargs)

    def on_message(self, message: Any) -> Any:
        self.ask()
        super().on_message(message)

    def ask(self) -> None:
        self.certificates.append((self.request.get_ssl_certificate(), self.request.get_ssl_certificate(True)))


class AskingLater(Asking):
    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        super().on_open(request, *args, **kwargs)


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    certificate = Certificate()
    certificate.give_to_client(NAME)
    return certificate


def assert_is_alices(pair: tuple[Any, Any]) -> None:
    told, der = pair
    assert told["subjectAltName"] == (("email", NAME),)
    assert NAME.encode() in der
    assert ssl.DER_cert_to_PEM_cert(der).startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize("connection_class", [Asking, AskingLater])
@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_a_clients_certificate_is_known_over_every_transport(serve, certificate, transport, connection_class):
    served = serve(connection_class, server={"ssl_options": certificate.server})
    secure = OverTls(served.server, served.router, served.wires, certificate)
    client = await greeted(secure, transport)
    asking = Recorder.opened[-1]
    assert_is_alices(asking.certificates[0])
    await exchange(client, "hello")
    if transport in PERSISTENT:  # the connection is the one that on_open has seen
        assert_is_alices(asking.certificates[1])


@pytest.mark.parametrize("version", [*HYBI, *HIXIE])
async def test_a_clients_certificate_is_known_in_every_version_of_websocket(serve, certificate, version):
    served = serve(Asking, server={"ssl_options": certificate.server})
    await connect(OverTls(served.server, served.router, served.wires, certificate), version)
    assert_is_alices(Recorder.opened[-1].certificates[0])


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_a_client_without_a_certificate_has_none(serve, transport):
    certificate = Certificate()
    served = serve(Asking, server={"ssl_options": certificate.server})
    await greeted(OverTls(served.server, served.router, served.wires, certificate), transport)
    assert Recorder.opened[-1].certificates == [(None, None)]


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_without_tls_there_is_none(serve, each_way, transport):
    await exchange(await greeted(serve(Asking), transport), "hello")
    assert Recorder.opened[-1].certificates == [(None, None)] * 2


@pytest.mark.parametrize("transport", PERSISTENT)
async def test_when_the_connection_is_closed_there_is_none(serve, certificate, transport):
    served = serve(Asking, server={"ssl_options": certificate.server})
    client = await greeted(OverTls(served.server, served.router, served.wires, certificate), transport)
    await client.leave()
    asking = Recorder.opened[-1]
    await until(lambda: asking.is_closed)
    await asking.wait_closed()

    def has_none() -> bool:
        asking.ask()
        return bool(asking.certificates[-1] == (None, None))

    await until(has_none)
