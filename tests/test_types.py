"""Type checkers see the public names with their types, although they are imported at their first use only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tornadio
from tornadio import errors, proto, settings, sync, testing

REPOSITORY = Path(__file__).resolve().parents[1]

# What an application writes, typed as strictly as mypy can.
PROGRAM = """
from typing import Any

import tornado.web
from tornado.httputil import HTTPServerRequest

import tornadio
from tornadio import Router, SocketConnection, get_router


class Chat(SocketConnection):
    def on_open(self, request: HTTPServerRequest, *args: Any, **kwargs: Any) -> bool | None:
        return request.remote_ip != "192.0.2.1"

    async def on_message(self, message: Any) -> None:
        self.send(message)
        group: tornadio.Group = router.group("room")
        group.add(self)

    def on_close(self) -> None:
        pass


router: Router = get_router(Chat, {"xhr_polling_timeout": 10})
application = tornado.web.Application([router.route(), (r"/health", tornadio.HealthHandler)])
server = tornadio.SocketServer(application, auto_start=False)
bus: tornadio.Bus = tornadio.RedisBus("redis://localhost")
with tornadio.Emitter("redis://localhost") as emitter:
    emitter.group("room").send("hello")
"""

REVEALED = {
    "tornadio.SocketServer(application)": "tornadio.server.SocketServer",
    "get_router(Chat)": "tornadio.router.Router",
    "router.group('room')": "tornadio.sessions.groups.Group",
    "tornadio.RedisBus('redis://localhost')": "tornadio.cluster.redis.RedisBus",
    "tornadio.AsyncEmitter('redis://localhost')": "tornadio.cluster.emitter.AsyncEmitter",
    "tornadio.proto.encode('hello')": "str",
    "tornadio.proto.decode('')": "list[tuple[str, Any]]",
    "tornadio.proto.FRAME": "Literal['~m~']?",
    "tornadio.settings.Settings()": "tornadio.settings.Settings",
    "tornadio.errors.SettingsError('why')": "tornadio.errors.SettingsError",
    "tornadio.sync.connect('ws://localhost/socket.io', json='plain')": "tornadio.sync.connection.Connection",
    "next(tornadio.sync.reconnecting('ws://localhost'))": "tornadio.sync.connection.Connection",
    "tornadio.__version__": "tuple[int, int, int]",
    "tornadio.__version__ >= (0, 0, 4)": "bool",
    "tornadio.version": "str",
    "tornadio.is_compiled": "bool",
    "tornadio.Settings(enabled_protocols=['websocket'])": "tornadio.settings.Settings",
    "tornadio.get_router(Chat, tornadio.Settings(session_expiry=60))": "tornadio.router.Router",
    "Chat(tornadio.proto, None, 12)": "program.Chat",
}


def check_types(tmp_path: Path, *lines: str) -> tuple[int, list[str]]:
    """The exit status of mypy for a program, and what it says."""
    program = tmp_path / "program.py"
    program.write_text("\n".join(lines), encoding="utf-8")
    # Errors of the program alone: old versions of redis-py have no types, which the package is checked without.
    options = ["--strict", "--warn-unreachable", "--config-file=", "--no-incremental", "--no-error-summary"]
    options.append("--follow-imports=silent")
    command = [sys.executable, "-m", "mypy", *options, str(program)]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    return ran.returncode, ran.stdout.splitlines()


def exported(module: ModuleType) -> list[str]:
    """What a module exports: its ``__all__``, else the classes and functions that it defines."""
    defined = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    names: list[str] = getattr(module, "__all__", [name for name in defined if not name.startswith("_")])
    assert names
    return names


def test_a_strict_type_checker_knows_every_public_name(tmp_path):
    pytest.importorskip("mypy", reason="of the extra lint")
    public = [("tornadio", name) for name in tornadio.__all__]
    modules = (errors, proto, settings, sync, testing)
    public += [(module.__name__, name) for module in modules for name in exported(module)]
    status, lines = check_types(
        tmp_path,
        *PROGRAM.strip().split("\n"),
        *(f"from {module} import {name} as _{number}" for number, (module, name) in enumerate(public)),
        *(f"reveal_type({expression})" for expression in REVEALED),
        *(f"reveal_type(_{number})" for number in range(len(public))),
    )
    assert status == 0, lines
    revealed = [line.split('Revealed type is "')[1].rstrip('"') for line in lines]
    assert len(revealed) == len(REVEALED) + len(public)
    assert dict(zip(REVEALED, revealed, strict=False)) == REVEALED
    assert "Any" not in revealed


def test_a_type_checker_finds_a_misspelt_name(tmp_path):
    pytest.importorskip("mypy", reason="of the extra lint")
    status, lines = check_types(
        tmp_path, "import tornadio", "tornadio.get_rooter", "from tornadio import SocketConection"
    )
    assert status == 1
    assert ['"get_rooter"' in lines[0], '"SocketConection"' in lines[1]] == [True, True], lines
