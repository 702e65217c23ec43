"""The check of the ``Host`` header against DNS rebinding: the setting ``hosts``.

The owner of ``evil.example`` can serve a page there, and then have the name resolve to this server. For the browser
both are the same origin: the page reads every response, whatever the setting ``origins`` says, and reaches servers
behind the visitor's firewall. The ``Host`` header still has that name, and nothing else shows the attack.
"""

import functools
import re
from collections.abc import Iterable
from typing import Final

from tornadio.errors import SettingsError
from tornadio.net.addresses import is_internal, network_of, parse_address
from tornadio.web.origins import OriginRule, ascii_name, host_of

_NAME: Final = re.compile(r"[0-9a-z_-]+(?:\.[0-9a-z_-]+)*")
_MAX_HEADER: Final = 255 + len(":65535")  # characters: a host name (RFC 1035, section 2.3.4) and a port

# Names of local networks: .local (RFC 6762), .home.arpa (RFC 8375), .internal, which ICANN has reserved, and .lan of
# many routers. No site has one.
_LOCAL_DOMAINS: Final = (".local", ".internal", ".lan", ".home.arpa")


class HostRule:
    """The setting ``hosts``: which names clients may use for this server.

    IP addresses, ``localhost`` and what is below it, and the machine's own name are always allowed: no page of another
    site has such a name.

    :param names: host names in ASCII and lower case, ``*.example.com`` for what is below one, ``*`` for any; ``None``
        for the default: clients of the local network may ask for its names alone, others for any.
    :param own_name: the machine's own host name.
    """

    def __init__(self, names: Iterable[str] | None, own_name: str) -> None:
        given = frozenset(names or ())
        self._is_default = names is None
        self._any = "*" in given
        self._names = given | {"localhost", own_name.lower()}
        self._domains = (".localhost", *(name[1:] for name in given if name.startswith("*.")))
        # A cache for each rule, and bounded: clients choose the names.
        self._knows = functools.lru_cache(maxsize=256)(self._decide)

    def allows_name(self, host: str) -> bool:
        """Whether every client may use a name for this server.

        :param host: the ``Host`` header, ``''`` where there is none.
        """
        return self._any or (len(host) <= _MAX_HEADER and self._knows(host))

    def allows_client(self, address: str, own: str) -> bool:
        """Whether a client may use any name: one on the Internet may, since the page's owner could connect as well.

        :param address: the client's.
        :param own: the address at which its connection arrived. A client with the same one, of IPv6 in the same
            network, is on this machine or beside it, even if the address is public.
        """
        return (
            self._is_default
            and not is_internal(address)
            and parse_address(address) is not None
            and network_of(address) != network_of(own)
        )

    def _decide(self, host: str) -> bool:
        name = host_of(host).removesuffix(".")  # of a fully qualified name
        if not name:
            return False
        if name in self._names or name.endswith(self._domains) or parse_address(name) is not None:
            return True
        return self._is_default and ("." not in name or name.endswith(_LOCAL_DOMAINS))


def make_host_rule(hosts: Iterable[str] | None, origins: OriginRule, own_name: str) -> HostRule:
    """Make the rule for the settings ``hosts`` and ``origins``; without ``hosts`` the hosts of ``origins`` count.

    :raises SettingsError: an entry of ``hosts`` that is no name.
    """
    return HostRule(origins.hosts if hosts is None else [_parse_entry(entry) for entry in hosts], own_name)


def _parse_entry(entry: str) -> str:
    if isinstance(entry, str):
        if entry == "*" or parse_address(entry.removeprefix("[").removesuffix("]")) is not None:
            return entry
        domain = entry.removeprefix("*.")
        name = ascii_name(domain.lower().removesuffix("."))
        if _NAME.fullmatch(name):
            return name if domain == entry else f"*.{name}"
    raise SettingsError(
        f"hosts: {entry!r} is no host name: write 'example.com', '*.example.com' for the names below it, or '*' for "
        "any, without scheme and port; an internationalized name may need its ASCII form, 'xn--...'"
    )
