"""Which names a client may ask for this server by: the setting ``hosts``, against DNS rebinding.

Whoever owns ``evil.example`` can serve a page there, and then have the name point at this server. The browser takes the
server for the page's own: the page reads whatever it asks for, no matter who may connect, and from behind firewalls,
where the visitor is. What gives it away is the name, which the ``Host`` header still has.
"""

import functools
import re
from collections.abc import Iterable
from typing import Final

from tornadio.errors import SettingsError
from tornadio.net.addresses import is_internal, network_of, parse_address
from tornadio.web.origins import OriginRule, ascii_name, host_of

_NAME: Final = re.compile(r"[0-9a-z_-]+(?:\.[0-9a-z_-]+)*")
_MAX_HEADER: Final = 255 + len(":65535")

# Names that only a local network knows: RFC 6762, RFC 8375, ICANN's .internal, and what routers use. No site has them.
_LOCAL_DOMAINS: Final = (".local", ".internal", ".lan", ".home.arpa")


class HostRule:
    """The setting ``hosts`` as a rule.

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
        self._knows = functools.lru_cache(maxsize=256)(self._decide)

    def allows_name(self, host: str) -> bool:
        """Whether everybody may ask for a name.

        :param host: the ``Host`` header, ``''`` where there is none.
        """
        return self._any or (len(host) <= _MAX_HEADER and self._knows(host))

    def allows_client(self, address: str, own: str) -> bool:
        """Whether a client may ask for any name: one from the internet, whom the page's owner could be as well.

        :param address: the client's.
        :param own: the one that it has asked. The same, of IPv6 the same network, is this machine's or beside it,
            public as it may be.
        """
        return (
            self._is_default
            and not is_internal(address)
            and parse_address(address) is not None
            and network_of(address) != network_of(own)
        )

    def _decide(self, host: str) -> bool:
        name = host_of(host).removesuffix(".")
        if not name:
            return False
        if name in self._names or name.endswith(self._domains) or parse_address(name) is not None:
            return True
        return self._is_default and ("." not in name or name.endswith(_LOCAL_DOMAINS))


def make_host_rule(hosts: Iterable[str] | None, origins: OriginRule, own_name: str) -> HostRule:
    """The rule for the settings ``hosts`` and ``origins``: without the first the second names the hosts.

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
