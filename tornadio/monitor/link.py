"""The link between the monitors of a router's processes: one asks, all that are there answer.

A question and an answer are messages on channels of the router's bus that are no group's: the first on one for all
processes, the second on one of the process that has asked. Without a bus the own process answers alone. Whoever can
publish on the bus can ask, as it can send to every connection.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tornadio import proto
from tornadio.cluster.bus import monitor_channel_name
from tornadio.errors import ProtocolError
from tornadio.logs import get_logger
from tornadio.monitor.answers import is_answer
from tornadio.monitor.connections import COLUMNS

if TYPE_CHECKING:
    from tornadio.router import Router

logger = get_logger(__name__)

_ANSWER_SECONDS: Final = 1.5  # that answers may take

Answer = dict[str, Any]
Respond = Callable[[str, Mapping[str, Any]], Answer | None]


class _Question:
    """A question whose answers are awaited.

    :param kind: of the question.
    :param value_type: for :func:`is_answer`.
    :param expected: the processes that are to answer; ``None`` where that is not known.
    """

    __slots__ = ("answers", "complete", "expected", "kind", "value_type")

    def __init__(self, kind: str, value_type: type, expected: set[str] | None) -> None:
        self.kind = kind
        self.value_type = value_type
        self.expected = expected
        self.answers: dict[str, Answer] = {}
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, process: str, answer: Answer) -> None:
        self.answers[process] = answer
        if self.expected is not None and self.answers.keys() >= self.expected and not self.complete.done():
            self.complete.set_result(None)


class Link:
    """Asks the processes of one router, this one among them, and answers their questions.

    :param router: the router.
    :param process: an id of this process.
    :param respond: answers a question, of a kind, with its arguments; ``None`` for no answer.
    :param on_sample: called with the answers to :meth:`request_samples`, and the process that each is from.
    """

    def __init__(
        self, router: "Router", process: str, respond: Respond, on_sample: Callable[["Link", str, Answer], None]
    ) -> None:
        self.resource = router._endpoint.resource
        self._relay = router._relay
        self._process = process
        self._respond = respond
        self._on_sample = on_sample
        self._numbers = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._rounds = 0  # of samples
        self._heard: dict[str, int] = {process: 0}  # processes that have answered, and in which round
        if self._relay is not None:
            self._relay.listen(monitor_channel_name(self.resource), self._on_question)
            self._relay.listen(monitor_channel_name(self.resource, process), self._on_answer)

    @property
    def processes(self) -> set[str]:
        """The processes that are there: those that have answered one of the last three requests for samples."""
        return {process for process, heard in self._heard.items() if heard > self._rounds - 3} | {self._process}

    def request_samples(self) -> None:
        """Have every process take a sample, which is passed to ``on_sample`` when it comes."""
        self._rounds += 1
        self._heard = {process: heard for process, heard in self._heard.items() if heard > self._rounds - 30}
        sample = self._respond("sample", {})
        if sample is not None:
            self._sampled(self._process, sample)
        self._publish({"ask": "sample", "number": 0, "process": self._process, "query": {}})

    def _sampled(self, process: str, sample: Answer) -> None:
        self._heard[process] = self._rounds
        self._on_sample(self, process, sample)

    async def ask(
        self, kind: str, query: Mapping[str, Any], process: str | None = None, wait: float | None = None
    ) -> dict[str, Answer]:
        """Ask all processes, or one, and wait until those that are there have answered, or a second and a half.

        :param wait: seconds to wait for whoever answers, be it one that is not known yet.
        :returns: the answers by process.
        :raises ProtocolError: this process can't answer such a question.
        """
        answers: dict[str, Answer] = {}
        if process in (None, self._process):
            own = self._respond(kind, query)
            if own is not None:
                answers[self._process] = own
        expected = (self.processes if process is None else {process}) - {self._process}
        if self._relay is None or not (expected or wait):
            return answers
        number = next(self._numbers)
        value_type = COLUMNS[query["sort"]] if kind == "page" else object
        question = self._questions[number] = _Question(kind, value_type, None if wait else expected)
        self._publish({"ask": kind, "number": number, "process": self._process, "query": {**query, "only": process}})
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait or _ANSWER_SECONDS):
                    await question.complete
        finally:
            del self._questions[number]
        return answers | question.answers

    def _publish(self, message: Mapping[str, Any], process: str | None = None) -> None:
        if self._relay is not None:
            self._relay.publish_on(monitor_channel_name(self.resource, process), proto.encode(dict(message)))

    def _on_question(self, frames: str) -> None:
        match _message_of(frames):
            case {"ask": str(kind), "number": int(number), "process": str(process), "query": dict(query)}:
                if query.get("only") not in (None, self._process):
                    return
                with contextlib.suppress(ProtocolError):  # of another version, perhaps
                    answer = self._respond(kind, query)
                    if answer is not None:
                        self._publish({"answer": number, "process": self._process, "content": answer}, process)
            case _:
                logger.warning("monitor: what came over the bus of %s is no question", self.resource)

    def _on_answer(self, frames: str) -> None:
        match _message_of(frames):
            case {"answer": 0, "process": str(process), "content": dict(sample)}:
                if is_answer("sample", sample) and sample["router"] == self.resource:
                    self._sampled(process, sample)
                    return
            case {"answer": int(number), "process": str(process), "content": dict(answer)}:
                question = self._questions.get(number)
                if question is None:
                    return
                if is_answer(question.kind, answer, question.value_type):
                    question.add(process, answer)
                    return
        logger.warning("monitor: what came over the bus of %s is no answer", self.resource)


def _message_of(frames: str) -> object:
    messages = [message for _, message in proto.decode(frames)]
    return messages[0] if len(messages) == 1 else None
