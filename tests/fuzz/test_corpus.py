"""What the fuzzer has found worth keeping: each of its inputs holds to what has to hold, without the fuzzer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz import targets
from tornadio import proto
from tornadio.transports import bodies
from tornadio.web.fastparse import SimpleRequest, parse_simple_request
from tornadio.websocket import rfc6455

CORPUS = sorted(Path(__file__).with_name("corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_an_input_of_the_corpus_breaks_nothing(path):
    targets.run(path.read_bytes())


def test_the_corpus_is_small_and_has_inputs_for_each_target():
    inputs = [path.read_bytes() for path in CORPUS]
    assert len(inputs) < 120
    assert sum(map(len, inputs)) < 200_000
    assert {data[0] % len(targets.TARGETS) for data in inputs if data} == set(range(len(targets.TARGETS)))


@given(st.sampled_from(range(len(targets.TARGETS))), st.binary())
@example(0, b"")
def test_an_input_by_chance_breaks_nothing(target, data):
    targets.run(bytes([target]) + data)


# -- The checks find what they are there for ---------------------------------------------------------------------------


def test_another_error_than_the_peers_is_found(monkeypatch):
    monkeypatch.setattr(proto, "iter_decode", lambda data: iter([1 / 0]))
    with pytest.raises(ZeroDivisionError):
        targets.check_frames(b"~m~1~m~x")


def test_a_framer_that_depends_on_the_cuts_is_found(monkeypatch):
    whole = rfc6455.Framer.feed
    monkeypatch.setattr(rfc6455.Framer, "feed", lambda self, data: whole(self, data[:7]))
    with pytest.raises(AssertionError):
        targets.check_rfc6455(b"\3\3\3\3" + bytes.fromhex("818537fa213d7f9f4d5158"))


def test_a_framer_that_holds_more_than_it_must_is_found(monkeypatch):
    def feed(self: rfc6455.Framer, data: bytes) -> list[str | bytes]:
        self._buffer += data
        return []

    monkeypatch.setattr(rfc6455.Framer, "feed", feed)
    with pytest.raises(AssertionError):
        targets.check_rfc6455(bytes(4 + targets.MAX_HELD[rfc6455.Framer] + 1))


def test_a_payload_past_the_limit_is_found(monkeypatch):
    monkeypatch.setattr(bodies, "parse_post_body", lambda *arguments: "x" * (targets.LIMIT + 1))
    with pytest.raises(AssertionError):
        targets.check_body(b"\0data=")


@pytest.mark.parametrize("reason", ["\ud800", "x" * (targets.MAX_REASON + 1)])
def test_a_reason_that_cannot_be_told_is_found(monkeypatch, reason):
    def frames(data: str) -> Iterator[None]:
        yield None
        raise proto.ProtocolError(reason)

    monkeypatch.setattr(proto, "iter_decode", frames)
    with pytest.raises((UnicodeEncodeError, AssertionError)):
        targets.check_frames(b"~m~1~m~x")


def test_a_plain_request_that_tornado_reads_otherwise_is_found(monkeypatch):
    def parse(data: bytes) -> SimpleRequest | None:
        found = parse_simple_request(data)
        return found and SimpleRequest(found.method, "/b", found.headers, found.body, found.total_bytes)

    monkeypatch.setattr(targets, "parse_simple_request", parse)
    with pytest.raises(AssertionError):
        targets.check_plain(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize(
    ("uri", "body", "size"), [("/b", b"ab", 0), ("/a", b"xy", 0), ("/a", b"a", 0), ("/a", b"ab", -1)]
)
def test_a_plain_request_that_h11_reads_otherwise_is_found(uri, body, size):
    whole = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
    request = parse_simple_request(whole)
    assert request is not None
    targets.check_with_h11(whole, request)
    wrong = SimpleRequest("POST", uri, request.headers, body, len(whole))
    with pytest.raises(AssertionError):
        targets.check_with_h11(whole[: len(whole) + size], wrong)
