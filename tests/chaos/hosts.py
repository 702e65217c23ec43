"""A host of its own for a peer: network namespaces, which need root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

from tests.programs import path_of

CLONE_NEWNET = 0x40000000
SERVER, CLIENT = "10.213.7.1", "10.213.7.2"  # they exist in the test's own namespaces only

libc = ctypes.CDLL(None, use_errno=True)


class Hosts:
    """Two network namespaces with a cable between them. What a socket sees is where it was made."""

    def __init__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._namespaces: list[int] = []
        try:
            self.server, self.client = self._make(), self._make()
            self.run(self.server, "link", "add", "cable0", "type", "veth", "peer", "name", "cable1")
            self.run(self.server, "link", "set", "cable1", "netns", f"/proc/{os.getpid()}/fd/{self.client}")
            for namespace, cable, address in ((self.server, "cable0", SERVER), (self.client, "cable1", CLIENT)):
                self.run(namespace, "address", "add", f"{address}/24", "dev", cable)
                self.run(namespace, "link", "set", cable, "up")
        except BaseException:
            self.close()
            raise

    def _make(self) -> int:
        checked(libc.unshare(CLONE_NEWNET))
        try:
            namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            checked(libc.setns(self._home, CLONE_NEWNET))
        self._namespaces.append(namespace)
        return namespace

    @contextlib.contextmanager
    def inside(self, namespace: int) -> Iterator[None]:
        checked(libc.setns(namespace, CLONE_NEWNET))
        try:
            yield
        finally:
            checked(libc.setns(self._home, CLONE_NEWNET))

    def run(self, namespace: int, *arguments: str) -> None:
        with self.inside(namespace):
            done = subprocess.run([path_of("ip") or "ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")

    def pull_the_cable(self) -> None:
        """From here on nothing that either side sends arrives, and neither is told."""
        self.run(self.client, "link", "set", "cable1", "down")

    def close(self) -> None:
        for descriptor in (*self._namespaces, self._home):
            os.close(descriptor)


def checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
