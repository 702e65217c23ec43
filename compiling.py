"""The build of TornadIO: setuptools', which has mypyc compile the modules on a message's or request's way if asked to.

This is the build backend that pyproject.toml names (PEP 517). With ``TORNADIO_COMPILE=1`` in the environment it needs
mypyc, and builds a wheel for this platform. Without, the package is pure Python, and its wheel is for every platform.
"""

import os
from collections.abc import Mapping
from typing import Any, Final

from setuptools import Extension, build_meta
from setuptools.build_meta import *  # noqa: F403  # the hooks that a frontend calls

# The modules on the way of a message and of a request, from the bottom up. Not those that gained nothing when they were
# compiled (docs/speed.rst), those that run rarely, and those whose classes applications or tests subclass or replace.
MODULES: Final = (
    "framing",
    "proto",
    "net/fifolock",
    "net/timers",
    "websocket/masking",
    "websocket/frames",
    "websocket/rfc6455",
    "web/fastparse",
    "web/peers",
    "web/fastexchange",
    "web/fastconnection",
    "web/fastpath",
    "sessions/state",
    "sessions/heartbeat",
    "sessions/outbox",
    "sessions/counters",
    "sessions/fanout",
    "sessions/handover",
    "sessions/sender",
    "sessions/posts",
    "sessions/greeting",
    "sessions/dispatch",
    "sessions/base",
    "sessions/persistent",
    "sessions/polling",
    "sessions/flushing",
    "sessions/registry",
    # Not transports/bodies: where that is compiled, PostHandler._body_decoder is not None at first, but unset.
    "transports/endpoint",
    "transports/responses",
    "transports/posts",
    "transports/base",
    "transports/opening",
    "transports/wirechannel",
    "transports/streamchannel",
    "transports/websocketchannel",
    "transports/polling",
    "transports/streaming",
    "transports/multipart",
    "transports/htmlfile",
    "transports/websocket",
    "transports/paths",
    "testing/handshake",  # whose class is one of transports/websocket's: no other subclasses what is compiled
)
_COMPILER: Final = "mypy[mypyc]>=1.18"
_NO_COMPILER: Final = """
TORNADIO_COMPILE=1 needs a C compiler and Python's headers: on Debian, apt install gcc python3-dev. Without it TornadIO
is installed in pure Python, which does the same."""
# Its types are mypy's to check in development: a build has neither Tornado's nor those of other packages.
_MYPY_OPTIONS: Final = ("--config-file=", "--ignore-missing-imports", "--follow-imports=silent")

# What setup.py builds besides the sources: the C of mypyc's, while a wheel is built that is to be compiled.
extensions: Final[list[Extension]] = []

_Settings = Mapping[str, Any] | None


def is_wanted() -> bool:
    """Whether the modules are to be compiled."""
    return os.environ.get("TORNADIO_COMPILE", "0") not in ("", "0")


def build_wheel(wheel_directory: str, config_settings: _Settings = None, metadata_directory: str | None = None) -> str:
    if is_wanted():
        from mypyc.build import mypycify  # which is installed for this hook alone

        paths = [f"tornadio/{module}.py" for module in MODULES]
        extensions[:] = mypycify([*_MYPY_OPTIONS, *paths], group_name="tornadio")
    try:
        name: str = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    except SystemExit as error:
        raise SystemExit(f"{error}\n{_NO_COMPILER}" if extensions else error.code) from None
    return name


def get_requires_for_build_wheel(config_settings: _Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(config_settings), *([_COMPILER] if is_wanted() else [])]


def get_requires_for_build_editable(config_settings: _Settings = None) -> list[str]:
    if is_wanted():
        raise SystemExit("TORNADIO_COMPILE=1 compiles what is installed, and an editable install is the source itself")
    needs: list[str] = build_meta.get_requires_for_build_editable(config_settings)
    return needs
