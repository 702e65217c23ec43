"""How an application's connection class is instantiated: decided once, in ``get_router``, by the class's signature.

A class of today's takes no arguments. One that was written for TornadIO 0.0.5 takes three, by position:
``def __init__(self, protocol, io_loop, heartbeat_interval)``.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from tornado.ioloop import IOLoop

from tornadio import proto
from tornadio.conn import SocketConnection
from tornadio.errors import SettingsError
from tornadio.settings import Settings

# The names that the constructor of TornadIO 0.0.5 had for its arguments, in their order.
_NAMES: Final = ("protocol", "io_loop", "heartbeat_interval")


def connection_factory(
    connection_class: type[SocketConnection], settings: Callable[[], Settings]
) -> Callable[[], SocketConnection]:
    """Return what makes the connection object for a new session.

    :param settings: returns the router's settings at the time of the call.
    :raises SettingsError: the class's constructor takes neither nothing nor the arguments of TornadIO 0.0.5.
    """
    if connection_class.__init__ is SocketConnection.__init__ and connection_class.__new__ is object.__new__:
        return connection_class  # the inherited constructor takes the arguments, and has no use for them
    try:
        signature = inspect.signature(connection_class)
        parameters = _decisive_parameters(connection_class, signature)
    except (TypeError, ValueError, NameError):
        # Compiled, by Cython perhaps, without a signature; or, from Python 3.14 on, annotated by names that only type
        # checkers import.
        return connection_class
    if _is_of_0_0_5(parameters):
        if _binds(signature, None, None, None):
            return functools.partial(_make_by_position, connection_class, settings)
        if _binds(signature, **dict.fromkeys(_NAMES)):
            return functools.partial(_make_by_name, connection_class, settings)
    if _binds(signature):
        return connection_class
    name = connection_class.__name__
    raise SettingsError(
        f"{name} can't be called for a client: its __init__ takes {signature}. It must take no arguments besides self, "
        f"or those of TornadIO 0.0.5, {', '.join(_NAMES)}. What all connections need besides, make it an attribute of "
        f"the class: {name}.db = db"
    )


def _decisive_parameters(
    connection_class: type[SocketConnection], signature: inspect.Signature
) -> Mapping[str, inspect.Parameter]:
    """Return the parameters that tell what a class takes: its own, or, as a constructor with ``*args`` passes these on
    to the next one in the MRO, those of the first without.
    """
    if not _takes_any_number(signature.parameters):
        return signature.parameters
    for each in connection_class.__mro__:
        constructor = vars(each).get("__init__")
        if constructor is not None:
            parameters = inspect.signature(functools.partial(constructor, None)).parameters  # None: for self
            if not _takes_any_number(parameters):
                return parameters
    return signature.parameters


def _takes_any_number(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(each.kind is each.VAR_POSITIONAL for each in parameters.values())


def _is_of_0_0_5(parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Whether parameters are those of 0.0.5: they have its names, or three that are required."""
    required = [each for each in parameters.values() if _is_positional(each) and each.default is each.empty]
    return parameters.keys() >= set(_NAMES) or len(required) == len(_NAMES)


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)


def _binds(signature: inspect.Signature, *args: Any, **kwargs: Any) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _make_by_position(
    connection_class: Callable[..., SocketConnection], settings: Callable[[], Settings]
) -> SocketConnection:
    return connection_class(proto, IOLoop.current(), settings().heartbeat_interval)


def _make_by_name(
    connection_class: Callable[..., SocketConnection], settings: Callable[[], Settings]
) -> SocketConnection:
    arguments = (proto, IOLoop.current(), settings().heartbeat_interval)
    return connection_class(**dict(zip(_NAMES, arguments, strict=True)))
