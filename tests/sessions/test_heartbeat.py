"""When a heartbeat is due, and when a peer is given up: pure, with times as numbers."""

from __future__ import annotations

import pytest

from tornadio.sessions.heartbeat import Heartbeat


@pytest.fixture
def heartbeat() -> Heartbeat:
    return Heartbeat(interval=12, timeout=30, now=100)


def test_the_first_is_due_an_interval_after_the_start(heartbeat):
    assert heartbeat.next_deadline() == 112


def test_silence_in_one_direction_is_enough(heartbeat):
    heartbeat.last_sent = 105
    assert heartbeat.next_deadline() == 112
    heartbeat.received(107)
    assert heartbeat.next_deadline() == 117
    heartbeat.last_sent = 110
    assert heartbeat.next_deadline() == 119


def test_one_counts_from_the_last_though_nothing_else_comes(heartbeat):
    assert heartbeat.record_sent(112) == 1
    assert heartbeat.next_deadline() == 124
    assert heartbeat.record_sent(124) == 2
    assert heartbeat.next_deadline() == 136


def test_a_peer_is_given_up_a_timeout_after_the_first_unanswered_one(heartbeat):
    heartbeat.record_sent(112)
    heartbeat.record_sent(124)
    heartbeat.record_sent(136)
    assert heartbeat.next_deadline() == 142
    assert not heartbeat.has_timed_out(141.9)
    assert heartbeat.has_timed_out(142)


def test_whatever_comes_is_an_answer(heartbeat):
    heartbeat.record_sent(112)
    heartbeat.received(130)
    assert not heartbeat.has_timed_out(1000)
    heartbeat.record_sent(142)
    assert not heartbeat.has_timed_out(171.9)
    assert heartbeat.has_timed_out(172)


def test_a_peer_that_could_not_be_heard_gets_its_time_again(heartbeat):
    heartbeat.restart_timeout(105)
    assert not heartbeat.has_timed_out(1000)
    heartbeat.record_sent(112)
    heartbeat.restart_timeout(140)
    assert not heartbeat.has_timed_out(169.9)
    assert heartbeat.has_timed_out(170)
