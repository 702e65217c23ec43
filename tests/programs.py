"""The programs that tests start and that pip doesn't install: where they are, and which of Debian's packages has them.

A test says what it starts with `@pytest.mark.needs("curl")`, or by asking for a fixture of `OF_FIXTURES`. Where that is
missing, the test is skipped with the reason; with `REQUIRE_PROGRAMS=1` in the environment, which tests/run.sh sets, it
fails, so that nothing passes by being skipped. The right to make network namespaces can't be installed: without it,
tests are skipped there, too.

`python tests/programs.py` prints the packages that are missing for all tests, `pytest --missing-packages=FILE` writes
those that the selected tests need.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import Final

# The names under which a program may be found, the first that is there counts; and its package.
PROGRAMS: Final = {
    "cc": (("cc",), "gcc libc6-dev"),
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "chromium"),
    "curl": (("curl",), "curl"),
    "firefox": (("firefox-esr",), "firefox-esr"),
    "haproxy": (("haproxy",), "haproxy"),
    "ip": (("ip",), "iproute2"),
    "nats-server": (("nats-server",), "nats-server"),
    "nginx": (("nginx",), "nginx-light"),
    "node": (("node",), "nodejs"),
    "npm": (("npm",), "npm"),
    "openssl": (("openssl",), "openssl"),
    "prometheus": (("prometheus",), "prometheus"),
    "promtool": (("promtool",), "prometheus"),
    "redis-cli": (("redis-cli",), "redis-tools"),
    "redis-server": (("redis-server",), "redis-server"),
    "systemd-analyze": (("systemd-analyze",), "systemd"),
    "systemd-socket-activate": (("systemd-socket-activate",), "systemd"),
    "webkit": (("WebKitWebDriver",), "webkit2gtk-driver"),
    "xvfb": (("Xvfb",), "xvfb"),
}
# Not a program: the right to make network namespaces, which root has outside of most containers.
NAMESPACES: Final = "namespaces"

# What a test needs that runs in an engine of browsers, which is Chromium's unless a parameter says another.
OF_ENGINES: Final = {
    "chromium": ("chromium",),
    "firefox": ("firefox",),
    "webkit": ("webkit", "xvfb"),
}
# What a test needs that asks for one of these fixtures.
OF_FIXTURES: Final = {
    "contexts": tuple(program for programs in OF_ENGINES.values() for program in programs),
    "curl": ("curl",),
    "fleet": ("redis-server", "haproxy", "nginx"),
    "hosts": ("ip", NAMESPACES),
    "node": ("node",),
    "node_modules": ("node", "npm"),
    "redis_server": ("redis-server",),
    "start_redis": ("redis-server",),
    "wsbench": ("cc",),
}


def path_of(name: str) -> str | None:
    """The path of a program. Debian keeps servers in /usr/sbin, which is not on every user's PATH."""
    names, _ = PROGRAMS[name]
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    return next(filter(None, (shutil.which(each, path=places) for each in names)), None)


@functools.cache
def why_missing(name: str) -> str | None:
    """What is missing, in words, `None` if nothing is."""
    if name == NAMESPACES:
        unshare = shutil.which("unshare")
        if unshare and subprocess.run([unshare, "--net", "true"], capture_output=True, check=False).returncode == 0:
            return None
        return "no network namespaces can be made here: that needs Linux and root"
    if path_of(name):
        return None
    return f"{name} is missing: sudo apt-get install {PROGRAMS[name][1]}"


def missing_packages(names: Iterable[str]) -> list[str]:
    """The packages of those of these programs that are not there."""
    missing = {name for name in names if name in PROGRAMS and path_of(name) is None}
    return sorted({package for name in missing for package in PROGRAMS[name][1].split()})


if __name__ == "__main__":
    print(*missing_packages(PROGRAMS), sep="\n", end="")
