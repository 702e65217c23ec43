"""What a session has still to send: queued, in flight, taken back."""

from __future__ import annotations

import gc
import itertools
import sys
import time
import tracemalloc
import weakref
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tornadio.sessions.outbox import Outbox, Payload, SinglePayload
from tornadio.websocket import rfc6455


def outbox_of(*payloads: str) -> Outbox:
    outbox = Outbox()
    for payload in payloads:
        outbox.put(Payload(payload))
    return outbox


def test_payloads_leave_together_and_in_order():
    outbox = outbox_of("a", "b", "c")
    assert outbox.next_batch(100).text == "abc"
    assert outbox.head is None


def test_a_batch_is_no_larger_than_the_limit():
    outbox = outbox_of("aa", "bb", "cc", "d", "e")
    assert outbox.next_batch(5).text == "aabb"
    outbox.ack()
    assert outbox.next_batch(4).text == "ccde"
    assert outbox.head is None


def test_one_payload_leaves_however_large_it_is():
    outbox = outbox_of("a", "bbbb", "c")
    assert [outbox.next_batch(2).text for _ in range(3)] == ["a", "bbbb", "c"]
    assert outbox_of("aa", "bb").next_batch(0).text == "aa"


def test_bytes_count_until_the_batch_is_delivered():
    outbox = outbox_of("é中😀", "x")
    assert outbox.size == 2 + 3 + 4 + 1
    outbox.next_batch(0)
    assert outbox.size == 10
    outbox.ack()
    assert outbox.size == 1


def test_a_batch_that_is_taken_back_is_the_first_to_go_again():
    outbox = outbox_of("a", "b", "c")
    assert outbox.next_batch(2).text == "ab"
    outbox.put(Payload("d"))
    outbox.requeue()
    assert outbox.size == 4
    assert outbox.next_batch(100).text == "abcd"


def test_a_batch_is_delivered_or_taken_back_once():
    outbox = outbox_of("a")
    outbox.next_batch(0)
    outbox.ack()
    outbox.requeue()
    outbox.ack()
    assert outbox.head is None
    assert outbox.size == 0


def test_what_is_cleared_counts_no_more():
    outbox = outbox_of("a", "b")
    outbox.next_batch(0)
    outbox.clear()
    outbox.requeue()
    assert outbox.head is None
    assert outbox.size == 0


def test_the_size_is_that_of_utf8():
    assert [Payload(text).size for text in ("", "abc", "é", "中", "😀")] == [0, 3, 2, 3, 4]


def test_what_goes_to_many_is_encoded_once_for_each_transport():
    calls = []

    def encode(text: bytes) -> bytes:
        calls.append(text)
        return text

    payload = Payload("é")
    assert [payload.encoded(encode) for _ in range(3)] == ["é".encode()] * 3
    assert calls == ["é".encode()]
    assert payload.encoded(rfc6455.Framer(1).encode_text) == b"\x81\x02" + "é".encode()
    assert calls == ["é".encode()]


def test_a_payload_keeps_few_encodings_however_many_functions_it_is_given():
    def make_encode() -> Callable[[bytes], bytes]:
        def encode(text: bytes) -> bytes:
            encoded = b"x" * 100_000
            kept.append(weakref.ref(encode))
            return encoded

        return encode

    kept: list[weakref.ref[Callable[[bytes], bytes]]] = []
    payload = Payload("é")
    tracemalloc.start()
    try:
        for _ in range(1000):
            assert len(payload.encoded(make_encode())) == 100_000
        allocated, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert allocated < 12 * 100_000
    gc.collect()
    assert sum(reference() is not None for reference in kept) <= 9


def test_the_same_run_of_payloads_is_joined_once():
    run = [Payload("a"), Payload("b")]
    joined = []
    for _ in range(2):
        outbox = Outbox()
        for payload in run:
            outbox.put(payload)
        joined.append(outbox.next_batch(100))
    assert joined[0] is joined[1]
    assert joined[0].text == "ab"


def test_another_run_with_the_same_beginning_is_another():
    first, second = Payload("a"), Payload("b")
    texts = []
    for run in ([first, second], [first, Payload("c")], [first, second, second], [first, second]):
        outbox = Outbox()
        for payload in run:
            outbox.put(payload)
        texts.append(outbox.next_batch(100).text)
    assert texts == ["ab", "ac", "abb", "ab"]


def payload_of(letter: str) -> Payload:
    """A payload; a capital is one that travels alone."""
    return SinglePayload(letter) if letter.isupper() else Payload(letter)


def put(outbox: Outbox, letter: str) -> None:
    outbox.has_single = outbox.has_single or letter.isupper()
    outbox.put(payload_of(letter))


@pytest.mark.parametrize(
    ("queued", "batches"),
    [("abCde", ["ab", "C", "de"]), ("Abc", ["A", "bc"]), ("abC", ["ab", "C"]), ("ABcD", ["A", "B", "c", "D"])],
)
def test_a_payload_that_travels_alone_ends_the_batch_before_it(queued, batches):
    outbox = Outbox()
    for letter in queued:
        put(outbox, letter)
    for batch in batches:
        assert outbox.next_batch(100).text == batch
        outbox.ack()
    assert outbox.head is None


@example(["put", "put alone", "write", "requeue"], 100)
@example(["put alone", "put", "write", "requeue"], 100)
@given(st.lists(st.sampled_from(["put", "put alone", "write", "ack", "requeue"])), st.sampled_from([2, 5, 100]))
def test_a_payload_that_travels_alone_is_joined_with_no_other_whatever_is_requeued(steps, max_bytes):
    outbox, letters, written, in_flight = Outbox(), iter("abcdefghijklmnopqrstuvwxyz" * 100), [], None
    queued = []
    for step in [*steps, *["ack", "write"] * (len(steps) + 1)]:
        if step.startswith("put"):
            queued.append(next(letters).upper() if step == "put alone" else next(letters))
            put(outbox, queued[-1])
        elif step == "write" and in_flight is None and outbox.head is not None:
            in_flight = outbox.next_batch(max_bytes).text
        elif step == "ack" and in_flight is not None:
            outbox.ack()
            written.append(in_flight)
            in_flight = None
        elif step == "requeue" and in_flight is not None:
            outbox.requeue()
            in_flight = None
    assert "".join(written) == "".join(queued)
    assert all(batch.islower() or len(batch) == 1 for batch in written)
    assert (outbox.size, outbox.queue_length) == (0, 0)


@pytest.mark.parametrize("queued", ["a", "ab", "aB", "Ab", "ABc"])
@pytest.mark.parametrize("replacement", ["x", "X", None], ids=["other", "alone", "none"])
def test_the_first_payload_can_be_replaced_as_long_as_it_waits(queued, replacement):
    expected = Outbox()
    for letter in (replacement or "") + queued[1:]:
        put(expected, letter)
    outbox = Outbox()
    for letter in queued:
        put(outbox, letter)
    outbox.replace_head(payload_of(replacement) if replacement else None)
    assert (outbox.size, outbox.queue_length) == (expected.size, expected.queue_length)
    while expected.head is not None:
        assert outbox.next_batch(100).text == expected.next_batch(100).text
        outbox.ack()
        expected.ack()
        assert outbox.size == expected.size
    assert outbox.head is None


def test_payloads_are_counted_as_long_as_they_are_queued():
    outbox = outbox_of("a", "b", "c", "d")
    assert outbox.queue_length == 4
    outbox.next_batch(2)
    assert outbox.queue_length == 2
    outbox.requeue()
    assert outbox.queue_length == 3  # the two travel as one
    outbox.next_batch(100)
    outbox.ack()
    assert outbox.queue_length == 0
    outbox.put(Payload("e"))
    outbox.clear()
    assert outbox.queue_length == 0


def seconds_to_empty(payloads: int) -> float:
    """CPU time of an outbox with so many small payloads, a batch at a time."""
    payload, outbox = Payload("~m~2~m~XX"), Outbox()
    for _ in range(payloads):
        outbox.put(payload)
    start = time.process_time()
    while outbox.head is not None:
        outbox.next_batch(1 << 16)
        outbox.ack()
    return time.process_time() - start


def test_its_cost_is_in_proportion_to_the_payloads():
    few = min(seconds_to_empty(100_000) for _ in range(3))
    assert min(seconds_to_empty(800_000) for _ in range(3)) < 3 * 8 * few


def test_a_payload_that_is_being_encoded_gives_other_threads_no_half_of_it():
    """Routers on several loops share the one of the last text. A call in the middle is another thread's."""
    payload = Payload("text")
    others: list[bytes] = []

    def encode(text: bytes) -> bytes:
        if not others:
            others.append(payload.encoded(lambda text: b"another encoder's"))
            others.append(payload.encoded(encode))
        return b"encoded"

    assert payload.encoded(encode) == b"encoded"
    assert others == [b"another encoder's", b"encoded"]
    assert payload.encoded(encode) == b"encoded"


@pytest.mark.parametrize("step", range(30))
def test_what_a_signal_handler_puts_while_a_batch_is_taken_comes_behind_and_drops_nothing(step):
    """Such a handler runs between any two calls; here in place of a profiler."""
    outbox = outbox_of(*"012345")
    late = Payload("+")
    calls = itertools.count()

    def on_call(*args: object) -> None:
        if next(calls) == step:
            outbox.put(late)

    sys.setprofile(on_call)
    try:
        taken = outbox.next_batch(3).text
    finally:
        sys.setprofile(None)
    while outbox.head is not None:
        outbox.ack()
        taken += outbox.next_batch(3).text
    outbox.ack()
    assert (taken.replace("+", ""), outbox.size, outbox.queue_length) == ("012345", 0, 0)
    assert taken.count("+") == (next(calls) > step)
