"""Who may look at the monitor: checks of a request's peer, headers and origin. Knows no I/O."""

from collections.abc import Mapping
from typing import Final, Literal

from tornadio.web.origins import page_header, parse_origin

# To look, or to look and act: close a connection, or send it a message.
Rights = Literal["read", "act"]

_OWN_SITES: Final = frozenset({"same-origin", "none"})  # none: a URL typed, a bookmark

NOT_LOCAL: Final = (
    "without the argument 'authorize' this page is for this machine alone: open it there, by the name localhost, and "
    "not through a proxy"
)
OTHER_ORIGIN: Final = "only this page's own script may connect here"


def is_same_origin(headers: Mapping[str, str], host: str) -> bool:
    """Whether a page of the same host and port has sent a request, or no page at all.

    The scheme is not compared: behind a proxy that ends TLS the server doesn't know the page's.

    :param host: the request's ``Host`` header.
    """
    told = page_header(headers)
    if told is None:  # a program: it has no cookies but its own
        return True
    name, value = told
    if name == "Sec-Fetch-Site":
        return value in _OWN_SITES
    page = parse_origin(value)
    return page is not None and page == parse_origin(f"{page.scheme}://{host}")
