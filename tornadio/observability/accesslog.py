"""Tornado's access log with a rate limit, short URLs, and no session ids."""

import logging
from typing import Any, Final

from tornado.log import access_log

from tornadio.logs import RATE_LIMITER, keys_of_request, printable
from tornadio.net.addresses import network_of

_MAX_METHOD: Final = 20  # characters written: a client may send any name
_MAX_URL: Final = 200  # characters written


def log_request(handler: Any) -> None:
    """Write a request's line to ``tornado.access``, in Tornado's format: a value for the setting ``log_function``.

    URLs are cut to 200 characters, and session ids to 8. Of each status from 400 on, 10 lines a minute are written for
    a client (an address, of IPv6 a ``/64``), and 100 for all clients. A request that a router has refused has its line,
    with the reason, in the router's log, under the same limits, and none here.

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
        if getattr(handler, "is_refusal_logged", False):
            return
        request = handler.request
        log = access_log.warning if status < 500 else access_log.error
        note = RATE_LIMITER.count_line(*keys_of_request(status, network_of(str(request.remote_ip))))
    if note is not None:
        what = f"{str(request.method)[:_MAX_METHOD]} {printable(str(request.uri), _MAX_URL)}"
        log("%d %s (%s) %.2fms%s", status, what, request.remote_ip, 1000 * request.request_time(), note)
