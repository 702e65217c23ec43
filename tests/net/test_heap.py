"""Freed memory of large messages is used again, and not mapped anew for each."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Page faults of a hundred rounds, in each of which blocks of 1.6 MB together are taken and freed.
ROUNDS = """
import resource
import tornadio.net.socketwire

for _ in range(100):
    blocks = [b"x" * 200_000 for _ in range(8)]
    del blocks
    if not _:
        first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""


@pytest.mark.external
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have limits of their own")
def test_large_blocks_are_not_mapped_anew():
    done = subprocess.run([sys.executable, "-c", ROUNDS], capture_output=True, text=True, check=True, timeout=60)
    # One round writes to 400 pages.
    assert int(done.stdout) < 400
