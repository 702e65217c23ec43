"""A last moment before Tornado's autoreload replaces the process by a new one, as it does with ``debug=True``."""

import functools
import weakref
from collections.abc import Callable
from typing import Final

import tornado.autoreload

from tornadio.logs import get_logger

logger = get_logger(__name__)

_methods: Final[list[weakref.WeakMethod[Callable[[], None]]]] = []


def call_before_reload(method: Callable[[], None]) -> None:
    """Have a method called before the process is replaced, as long as its object lives. Nothing waits for it: it is no
    coroutine, and the event loop runs no more behind it.
    """
    _add_hook()
    _methods[:] = [each for each in _methods if each() is not None]
    _methods.append(weakref.WeakMethod(method))


@functools.cache
def _add_hook() -> None:
    tornado.autoreload.add_reload_hook(_call_all)  # once: there is no way to remove it


def _call_all() -> None:
    for each in _methods:
        method = each()
        try:
            if method is not None:
                method()
        except Exception:
            logger.exception("before the program is started anew")
