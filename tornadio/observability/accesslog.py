"""Tornado's access log with a rate limit, short URLs, and no session ids."""

import logging
from typing import Any, Final

from tornado.log import access_log

from tornadio.logs import RATE_LIMITER, printable
from tornadio.net.addresses import network_of

_MAX_METHOD: Final = 20  # characters written: a client may send any name
_MAX_URL: Final = 200  # characters written


def log_request(handler: Any) -> None:
    """Write a request's line to ``tornado.access``, in Tornado's format: a value for the setting ``log_function``.

    URLs are cut to 200 characters, and session ids to 8. Of responses with a status from 400 on, 10 lines a minute are
    written for a client (an address, of IPv6 a ``/64``), and 100 for all clients.

    :param handler: a ``tornado.web.RequestHandler``, or an object with its ``get_status()`` and ``request``.
    """
    status = handler.get_status()
    note: str | None = ""
    if status < 400:
        log = access_log.info
        if not access_log.isEnabledFor(logging.INFO):
            return  # before ``request``, which the transports would build for this alone
        request = handler.request
    else:
        request = handler.request
        log = access_log.warning if status < 500 else access_log.error
        kind = access_log.name, status >= 500  # a flood of 404s must not suppress the lines of server errors
        note = RATE_LIMITER.count_line((*kind, network_of(str(request.remote_ip))), kind)
    if note is not None:
        what = f"{str(request.method)[:_MAX_METHOD]} {printable(str(request.uri), _MAX_URL)}"
        log("%d %s (%s) %.2fms%s", status, what, request.remote_ip, 1000 * request.request_time(), note)
