"""Exceptions as programs pass them on: to other processes, and as copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from tornadio import errors

MADE = [
    errors.ConnectionClosed(1006, "the connection broke", ("first", {"second": 2})),
    errors.ConnectError("no", status=401, text="who?", attempts={"websocket": OSError("no")}, is_permanent=True),
    errors.RefusedError(429, "too many", note="for the log", is_for_every_transport=True),
    errors.HandlerError("connection"),
    errors.TooLargeError("too large"),
    errors.SettingsError("wrong"),
    errors.BusError("gone"),
]


def pickled(error: Exception) -> Any:
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("another", [pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_exception_is_the_same_behind_a_pickle_and_a_copy(error: Exception, another: Callable[[Exception], Any]):
    """Of one that can't be rebuilt a pool of processes makes a BrokenProcessPool, which says nothing."""
    other = another(error)
    assert type(other) is type(error)
    assert (str(other), other.args) == (str(error), error.args)
    assert repr(vars(other)) == repr(vars(error))
