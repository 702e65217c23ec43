"""The server of the tests that look at its memory from outside: it echoes."""

from __future__ import annotations

import os

import tornadio
from tests.app import Echo, closed, options_of, report_at, serve, vitals_of


def main() -> None:
    options = options_of(max_payload_size=0, context_takeover=False)
    settings = {
        "max_message_size": options.max_payload_size - 100,
        "max_payload_size": options.max_payload_size,
        "heartbeat_timeout": 600,
        "compression": {"context_takeover": options.context_takeover},
    }
    router = tornadio.get_router(Echo, settings)
    report = report_at("/report", lambda: {"process": os.getpid(), "closed": closed})
    serve(router.route(), vitals_of(router), report, port=options.port)


if __name__ == "__main__":
    main()
