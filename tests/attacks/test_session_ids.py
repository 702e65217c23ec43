"""Session ids can't be guessed.

CVE-2017-16031: ids came from Math.random. The original TornadIO's were hashes of the time.
"""

from __future__ import annotations

import os
import random
import re
import secrets
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


@pytest.mark.parametrize(
    ("node", "digits"),
    [
        ("", "12345678901234567890123456789012"),
        ("", "0" * 32),
        ("", "1e500000000000000000000000000000"),
        ("", "1234567890123456789012345678901e"[:-2] + "e1"),
        ("12", "12345678901234567890123456789012"),
        ("12", "e5000000000000000000000000000000"),
        ("1e", "12345678901234567890123456789012"),
        ("0b1", "01" * 16),
        ("0o", "01234567" * 4),
    ],
)
async def test_an_id_that_could_be_read_as_a_number_is_drawn_again(monkeypatch, node, digits):
    """Clients get their id as text in a frame of its own, which many decode as JSON, or compare with ``==``."""
    drawn = iter([digits, digits, "0f" * 16])
    monkeypatch.setattr(secrets, "token_hex", lambda size: next(drawn))
    registry = SessionRegistry(make_settings({"node": node}))
    session = registry.create(PersistentSession, Recorder(), "websocket")
    assert session.session_id == node + "0f" * 16
    registry.remove(session)


@pytest.mark.parametrize("node", ["0x", "0x1", "0xcafe"])
async def test_a_node_that_makes_every_id_a_hexadecimal_number_is_told_apart_by_a_letter(node):
    registry = SessionRegistry(make_settings({"node": node}))
    session = registry.create(PersistentSession, Recorder(), "websocket")
    assert re.fullmatch(f"{node}n[0-9a-f]{{32}}", session.session_id)
    registry.remove(session)


@pytest.mark.parametrize("node", ["a", "7", "0", "x0", "0b", "1e", "0xn"])
async def test_any_other_node_stands_before_the_digits(node):
    registry = SessionRegistry(make_settings({"node": node}))
    session = registry.create(PersistentSession, Recorder(), "websocket")
    assert re.fullmatch(f"{node}[0-9a-f]{{32}}", session.session_id)
    registry.remove(session)
