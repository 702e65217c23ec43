"""What a session has still to send: queued, in flight, taken back."""

import math

from tornadio.outbox import Outbox, utf8_size


def outbox_of(*payloads: str) -> Outbox:
    outbox = Outbox()
    for payload in payloads:
        outbox.put(payload)
    return outbox


def test_payloads_leave_together_and_in_order():
    outbox = outbox_of("a", "b", "c")
    assert outbox.take(math.inf) == "abc"
    assert not outbox


def test_a_batch_ends_with_the_payload_that_makes_it_long_enough():
    outbox = outbox_of("aa", "bb", "cc")
    assert outbox.take(3) == "aabb"
    assert outbox


def test_one_payload_leaves_however_little_is_enough():
    assert outbox_of("aa", "bb").take(0) == "aa"


def test_bytes_count_until_the_batch_is_delivered():
    outbox = outbox_of("é中😀", "x")
    assert outbox.size == 2 + 3 + 4 + 1
    outbox.take(0)
    assert outbox.size == 10
    outbox.delivered()
    assert outbox.size == 1


def test_a_batch_that_is_taken_back_is_the_first_to_go_again():
    outbox = outbox_of("a", "b", "c")
    assert outbox.take(2) == "ab"
    outbox.put("d")
    outbox.take_back()
    assert outbox.size == 4
    assert outbox.take(math.inf) == "abcd"


def test_a_batch_is_delivered_or_taken_back_once():
    outbox = outbox_of("a")
    outbox.take(0)
    outbox.delivered()
    outbox.take_back()
    outbox.delivered()
    assert not outbox
    assert outbox.size == 0


def test_what_is_cleared_counts_no_more():
    outbox = outbox_of("a", "b")
    outbox.take(0)
    outbox.clear()
    outbox.take_back()
    assert not outbox
    assert outbox.size == 0


def test_the_size_is_that_of_utf8():
    assert [utf8_size(text) for text in ("", "abc", "é", "中", "😀")] == [0, 3, 2, 3, 4]
