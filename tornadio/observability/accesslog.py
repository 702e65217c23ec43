"""Tornado's access log, so that no client can flood or fill it."""

import logging
from typing import Any, Final

from tornado.log import access_log

from tornadio.logs import FLOOD_LIMIT, printable
from tornadio.net.addresses import network_of

_MAX_METHOD: Final = 20
_MAX_URL: Final = 200


def log_request(handler: Any) -> None:
    """For the application's setting ``log_function``: as Tornado's own, but with short URLs without sessions' ids, and
    of what one client (an address, of IPv6 a ``/64``) is refused only the first few lines of each minute, and of what
    all together are a hundred.

    :param handler: a ``RequestHandler``, or what stands for one: it has ``get_status()`` and ``request``.
    """
    status = handler.get_status()
    note: str | None = ""
    if status < 400:
        log = access_log.info
        if not access_log.isEnabledFor(logging.INFO):
            return  # the transports make no request before they are asked for one
        request = handler.request
    else:
        request = handler.request
        log = access_log.warning if status < 500 else access_log.error
        kind = access_log.name, status >= 500
        note = FLOOD_LIMIT.admit((*kind, network_of(str(request.remote_ip))), kind)
    if note is not None:
        what = f"{str(request.method)[:_MAX_METHOD]} {printable(str(request.uri), _MAX_URL)}"
        log("%d %s (%s) %.2fms%s", status, what, request.remote_ip, 1000 * request.request_time(), note)
