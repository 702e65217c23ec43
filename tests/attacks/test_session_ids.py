"""Session ids can't be guessed.

CVE-2017-16031: ids came from Math.random. The original TornadIO's were hashes of the time.
"""

from __future__ import annotations

import os
import random
import re
import time

import pytest

from tests.support import Recorder
from tornadio.sessions.persistent import PersistentSession
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import make_settings

SESSIONS = 100_000


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever isn't the operating system's randomness stands still."""
    for name in ("random", "randint", "randrange", "getrandbits", "choice", "choices", "uniform", "randbytes"):
        monkeypatch.setattr(random, name, lambda *args, **kwargs: 0)
    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"):
        monkeypatch.setattr(time, name, lambda: 0)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    random.seed(0)


async def ids_of_sessions() -> list[str]:
    container = SessionRegistry(make_settings({"max_sessions": SESSIONS}))
    ids = []
    for _ in range(SESSIONS):
        session = container.create(PersistentSession, Recorder(), "websocket")
        ids.append(session.session_id)
        container.remove(session)
    return ids


async def test_the_ids_of_100_000_sessions_differ_although_random_is_frozen(frozen):
    ids = await ids_of_sessions()
    assert len(set(ids)) == SESSIONS
    assert all(re.fullmatch("[0-9a-z]{25,}", each) for each in ids)


async def test_every_bit_of_an_id_is_random(frozen):
    """Of 128 bits each is set in about half of the ids: fewer are not random, or not 128."""
    ids = await ids_of_sessions()
    numbers = [int(each, 16) for each in ids]
    for bit in range(128):
        share = sum(number >> bit & 1 for number in numbers) / SESSIONS
        assert abs(share - 0.5) < 0.02, bit  # more than 12 standard deviations
