"""One client in one round: prints its figures as JSON."""

from __future__ import annotations

import argparse
import json

from benchmarks.clients.contestants import CONTESTANTS
from benchmarks.clients.load import MODES, Load


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    parser.add_argument("client", choices=list(CONTESTANTS))
    parser.add_argument("mode", choices=list(MODES))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", type=int, required=True, metavar="PID")
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--warmup", type=float, default=0.5)
    arguments = parser.parse_args()
    load = Load(MODES[arguments.mode], arguments.seconds, arguments.warmup, arguments.server)
    CONTESTANTS[arguments.client].run(f"ws://127.0.0.1:{arguments.port}/socket.io", load)
    if not load.is_over:
        raise SystemExit("the connection ended before the round")
    print(json.dumps(load.figures))


if __name__ == "__main__":
    main()
