"""Which names this server may be asked for by: one rule, row by row."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tornadio
from tests.appserver import REPOSITORY
from tests.programs import path_of
from tests.support import brief
from tornadio.errors import SettingsError
from tornadio.web.hosts import HostRule, make_host_rule
from tornadio.web.origins import OriginRule

OWN = "Box7.example.net"
LOCAL = ["127.0.0.1", "127.8.9.10", "10.0.0.7", "172.16.0.1", "192.168.1.2", "169.254.3.4", "100.64.0.1"]
LOCAL_6 = ["::1", "fe80::1", "fe80::1%eth0", "fd00::7", "::ffff:192.168.1.2"]
PUBLIC = ["8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"]


def allows(rule: HostRule, host: str, address: str = "127.0.0.1", own: str = "127.0.0.1") -> bool:
    return rule.allows_name(host) or rule.allows_client(address, own)


def rule_of(hosts: list[str] | None = None, origins: list[str] | None = None) -> HostRule:
    return make_host_rule(hosts, OriginRule(origins), OWN)


# No page of another site has such a name.
ALWAYS = [
    *("127.0.0.1", "127.0.0.1:8001", "8.8.8.8", "[::1]", "[::1]:8001", "[2001:db8::1]", "[fe80::1%25eth0]:80"),
    *("localhost", "localhost:8001", "LOCALHOST", "localhost.", "app.localhost", "a.b.localhost:80"),
    *("box7.example.net", "BOX7.Example.NET:8001", "box7.example.net."),
]
# What a network knows by itself.
LOCAL_NAMES = ["box", "box:8001", "my_box", "box.", "box.local", "a.b.local:80", "x.internal", "nas.lan", "x.home.arpa"]
NAMES = [
    *("evil.example", "evil.example:8001", "evil.example.", "a.co", "0x7f.0.0.1", "xn--bcher-kva.example"),
    *("box7.example.net.evil.example", "www.box7.example.net", "127.0.0.1.evil.example", "127.0.0.1.nip.io"),
    *("localhost.evil.example", "notlocalhost.com", "evil.localhost.example", "127.0.0.1x.com"),
    *("box.local.evil.example", "evillocal.com", "home.arpa.com"),
]
NO_NAMES = ["", ":8001", "[", "[::1", "]", "user@localhost", "localhost@evil.example", "@", "a" * 300, "[evil]", "//"]


@pytest.mark.parametrize("address", [*LOCAL, *LOCAL_6])
def test_clients_of_a_local_network_may_ask_for_its_names_alone(address):
    for host in [*ALWAYS, *LOCAL_NAMES]:
        assert allows(rule_of(), host, address), host
    for host in [*NAMES, *NO_NAMES]:
        assert not allows(rule_of(), host, address), host


@pytest.mark.parametrize(
    ("client", "own", "is_local"),
    [
        ("8.8.8.8", "8.8.8.8", True),
        ("8.8.8.8", "8.8.8.9", False),
        ("8.8.8.8", "", False),
        ("2606:4700:1:2::a", "2606:4700:1:2::a", True),
        ("2606:4700:1:2::a", "2606:4700:1:2::b", True),
        ("2606:4700:1:2::a", "2606:4700:1:3::a", False),
        ("::ffff:8.8.8.8", "8.8.8.8", True),
    ],
)
def test_a_client_at_the_servers_own_public_address_or_beside_it_is_local(client, own, is_local):
    for host in [*ALWAYS]:
        assert allows(rule_of(), host, client, own), host
    for host in [*NAMES, *NO_NAMES]:
        assert allows(rule_of(), host, client, own) is not is_local, host


@pytest.mark.parametrize("address", [*PUBLIC, "0.0.0.0"])  # the latter stands for a Unix socket
def test_other_clients_may_ask_for_any_name(address):
    for host in [*ALWAYS, *LOCAL_NAMES, *NAMES, *NO_NAMES]:
        assert allows(rule_of(), host, address), host


@pytest.mark.parametrize("address", ["", "nonsense", "x" * 1000, "127.0.0.1, 8.8.8.8"], ids=brief)
def test_what_is_no_address_is_no_client_of_the_internet(address):
    assert not allows(rule_of(), "evil.example", address)


# -- A list ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [*LOCAL, *PUBLIC, "0.0.0.0"])
@pytest.mark.parametrize("hosts", [[], ["good.example"], ["good.example", "*.wide.example", "bücher.example"]])
def test_a_list_is_all_there_is_for_everybody(hosts, address):
    rule = rule_of(hosts)
    for host in ALWAYS:
        assert allows(rule, host, address), host
    for host in [
        *LOCAL_NAMES,
        *NO_NAMES,
        "evil.example",
        "good.example.evil.example",
        "wide.example",
        "a.good.example",
    ]:
        assert not allows(rule, host, address), host


@pytest.mark.parametrize(
    ("entry", "hosts"),
    [
        ("good.example", ["good.example", "good.example:8001", "GOOD.example", "good.example."]),
        ("Good.Example.", ["good.example"]),
        ("*.good.example", ["a.good.example", "a.b.good.example:80", "A.GOOD.EXAMPLE"]),
        ("box", ["box", "box:80"]),
        ("my_box.example", ["my_box.example"]),
        ("bücher.example", ["xn--bcher-kva.example", "bücher.example", "b\xc3\xbccher.example"]),
        ("*.bücher.example", ["a.xn--bcher-kva.example", "ä.bücher.example"]),
        ("xn--bcher-kva.example", ["xn--bcher-kva.example", "BÜCHER.example"]),
        ("10.0.0.1", ["10.0.0.1:80"]),
        ("[::1]", ["[::1]:80"]),
        ("::1", ["[::1]:80"]),
        ("*", [*ALWAYS, *LOCAL_NAMES, *NAMES, *NO_NAMES]),
    ],
)  # fmt: skip
def test_an_entry_is_a_name_those_below_one_or_all(entry, hosts):
    for host in hosts:
        assert rule_of([entry]).allows_name(host), host


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("good.example", "a.good.example"),
        ("*.good.example", "good.example"),
        ("*.good.example", "evilgood.example"),
        ("*.good.example", ".good.example.evil.example"),
        ("bücher.example", "bucher.example"),
        ("bücher.example", "faß.example"),
    ],
)
def test_an_entry_is_no_other_name(entry, host):
    assert not allows(rule_of([entry]), host, "8.8.8.8")


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*.",
        "**",
        "*.*",
        "*example.com",
        "www.*.com",
        "example.com:80",
        "example.com:*",
        "http://example.com",
        "//example.com",
        "example.com/",
        "user@example.com",
        "example..com",
        ".example.com",
        " example.com",
        "example.com\n",
        "[evil]",
        "faß.example",
        "ü..example",
        "ü" * 64,
        1,
        None,
        b"example.com",
    ],
    ids=brief,
)
def test_any_other_host_is_the_callers_error(entry):
    message = f"hosts: {entry!r} is no host name: write 'example.com', '*.example.com' for the names below it, or '*'"
    with pytest.raises(SettingsError, match=re.escape(message)):
        tornadio.get_router(tornadio.SocketConnection, {"hosts": [entry]})


# -- Without a list: the hosts of the origins --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "known", "unknown"),
    [
        (["good.example:80", "https://full.example"], ["good.example:8001", "full.example"], ["box", "evil.example"]),
        (["bücher.example:*"], ["xn--bcher-kva.example"], ["bcher.example"]),
        ([], [], ["good.example", "box", ""]),
        (["good.example:80", "*:9999"], ["evil.example", "box", ""], []),
        (["*:*"], ["evil.example", ""], []),
        (["[::1]:80", 'a"><b&.com:80'], [], ["evil.example"]),
    ],
)
def test_origins_name_the_hosts_as_well(origins, known, unknown):
    for address in ("127.0.0.1", "8.8.8.8"):
        for host in [*ALWAYS, *known]:
            assert allows(rule_of(None, origins), host, address), host
        for host in unknown:
            assert not allows(rule_of(None, origins), host, address), host


def test_hosts_come_before_origins():
    rule = rule_of(["good.example"], ["*:*"])
    assert rule.allows_name("good.example")
    assert not allows(rule, "evil.example")


async def test_the_machines_own_name_is_known(serve):
    served = serve(settings={"hosts": []})
    path = "/socket.io/xhr-polling//1"
    assert (await served.request("GET", path, {"Host": f"{socket.gethostname()}:8001"})).status == 200
    assert (await served.request("GET", path, {"Host": f"x{socket.gethostname()}.example"})).status == 403


# -- Whatever comes ----------------------------------------------------------------------------------------------------


@given(st.text() | st.text(st.sampled_from("ab.:[]@%/#\\1*-ü")), st.text() | st.ip_addresses().map(str))
def test_any_header_and_address_have_an_answer(host, address):
    for rule in (rule_of(), rule_of(["*.example", "good.com"])):
        assert allows(rule, host, address) in (True, False)


@given(st.text() | st.text(st.sampled_from("ab.:*-ü")))
def test_any_entry_is_taken_or_the_callers_error_of_hosts(entry):
    try:
        rule = rule_of([entry])
    except SettingsError:
        return
    assert entry == "*" or not rule.allows_name("somebody.else")


# A server at a public address, on a machine that asks it by that address: in a network of its own.
AT_A_PUBLIC_ADDRESS = """
import asyncio, sys
import tornado.web
import tornadio

class Secret(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        self.send("secret")

async def status(own, port, host):
    reader, writer = await asyncio.open_connection(own, port)
    writer.write(f"GET /socket.io/xhr-polling//1 HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
    answer = await reader.readuntil(b"\\r\\n")
    writer.close()
    return answer.split()[1].decode()

async def main():
    for own in sys.argv[1:]:
        application = tornado.web.Application(
            [tornadio.get_router(Secret).route()], socket_io_port=0, socket_io_address=own
        )
        server = tornadio.SocketServer(application, auto_start=False)
        print(*[await status(own, server.port, host) for host in ("evil.example", "localhost")])
        await server.shutdown(timeout=0.1)

asyncio.run(main())
"""
AT_HOME = ("203.0.113.5", "2001:db8::5")  # they exist in that network only


@pytest.mark.needs("ip", "namespaces")
def test_a_visitor_at_the_servers_own_public_address_is_no_stranger(tmp_path):
    ip = path_of("ip")
    script = tmp_path / "public.py"
    script.write_text(AT_A_PUBLIC_ADDRESS)
    commands = [f"{ip} link set lo up", *(f"{ip} address add {address} dev lo" for address in AT_HOME)]
    commands.append(shlex.join([sys.executable, str(script), *AT_HOME]))
    ran = subprocess.run(
        ["unshare", "--net", "sh", "-ec", "\n".join(commands)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        timeout=60,
        check=False,
    )
    assert ran.stdout == "403 200\n" * len(AT_HOME), ran.stderr
