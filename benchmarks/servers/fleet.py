"""An application in processes with a Redis of their own between them: `fleet.py APP [ARGUMENT...] --port N`.

The processes take the ports from N on, Redis takes the one behind them. They end with this one, however it ends.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import time


def start(*command: str) -> None:
    subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL)


def wait_for(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("app", nargs="+")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--processes", type=int, default=3)
    arguments, more = parser.parse_known_args()
    redis = arguments.port + arguments.processes
    start("redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    wait_for(redis)
    # The first is the last to start: who finds it there finds them all.
    for port in reversed(range(arguments.port, redis)):
        start(sys.executable, *arguments.app, *more, "--port", str(port), "--bus", f"redis://127.0.0.1:{redis}")
        wait_for(port)
    signal.pause()


if __name__ == "__main__":
    main()
