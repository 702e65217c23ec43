"""Dispatch: calls a connection's ``on_open``, ``on_message`` and ``on_close`` one at a time, in order.

A handler that is a plain function is called at once. Only a handler that is a coroutine, or that has to wait for one,
costs a task. Hence the return types: a result where there is one already, else a task of it.

All connections share the event loop's thread: a handler that does not return, or does not await, for more than a second
is logged by its name.
"""

import asyncio
import functools
import inspect
import types
from collections.abc import Awaitable, Coroutine, Generator, Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tornadio import proto
from tornadio.closecodes import MESSAGE_FAILED, OPEN_FAILED, REFUSED
from tornadio.errors import HandlerError
from tornadio.logs import get_logger
from tornadio.net.fifolock import FifoLock, Waiter
from tornadio.net.tasks import Tasks, is_cancelled

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from tornadio.conn import SocketConnection

logger = get_logger(__name__)

R = TypeVar("R")

# Frames and payloads of one connection that are handled before other connections get a turn of the event loop.
_MAX_FRAMES_PER_TICK: Final = 100
# Seconds that one payload may take before others get a turn, decoding and handlers included: a payload may hold several
# large messages of JSON, each of which takes milliseconds.
_MAX_SECONDS_PER_TICK: Final = 0.01
# Seconds that a handler may block the event loop before that is logged.
_MAX_BLOCKING: Final = 1.0


class Dispatcher:
    """Calls the handlers of one connection. The base class of sessions: a second object for each costs memory.

    :param connection: the application's object.
    :param tasks: where handlers that are coroutines run.
    :ivar is_closed: whether the session is closing or closed: then no ``on_message`` is called any more.
    :ivar frames_this_tick: frames and payloads handled since the event loop had a turn. A transport that waits for the
        event loop before it reads sets it to 0.
    """

    __slots__ = ("_connection", "_handler_lock", "_open_task", "_tasks", "frames_this_tick", "is_closed")

    def __init__(self, connection: "SocketConnection", tasks: Tasks) -> None:
        self._connection: SocketConnection | None = connection  # until on_close has run
        self._tasks = tasks
        self._handler_lock = FifoLock()
        self._open_task: asyncio.Task[Any] | None = None  # that runs on_open
        self.is_closed = False
        self.frames_this_tick = 0

    # -- What a session does about the outcomes ------------------------------------------------------------------

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the session once what is queued was delivered."""
        raise NotImplementedError

    def abort(self, code: int, reason: str) -> None:
        """Close the session at once."""
        raise NotImplementedError

    def _accept(self) -> None:
        """Hook: ``on_open`` has accepted the client.

        :raises RefusedError: the session has ended meanwhile.
        """
        raise NotImplementedError

    def _on_close_finished(self) -> None:
        """Hook: ``on_close``, the last handler, has returned or failed."""
        raise NotImplementedError

    # -- Handlers ------------------------------------------------------------------------------------------------

    @property
    def connection(self) -> "SocketConnection":
        """The application's object, until :attr:`on_close_has_run`."""
        assert self._connection is not None
        return self._connection

    @property
    def on_close_has_run(self) -> bool:
        """Whether ``on_close`` has returned or failed: no handler of this connection will run any more."""
        return self._connection is None

    @property
    def is_handling(self) -> bool:
        """Whether a handler runs in a task: messages that are received now wait for its end."""
        return self._handler_lock.locked

    def open(self, request: "HTTPServerRequest", extra: str) -> "bool | asyncio.Task[bool]":
        """Call ``on_open``. Nothing is sent to the client before it has returned.

        :param request: the request that opened the connection.
        :param extra: the text that ``extra_re`` matched.
        :returns: whether the connection was accepted: ``on_open`` did not return ``False``. Where ``on_open`` is a
            coroutine, a task of that result, or of the same errors.
        :raises HandlerError: ``on_open`` raised.
        :raises RefusedError: the session has ended meanwhile: ``on_open`` sent too much, or the server shut down.
        """
        started = monotonic()
        try:
            result = self.connection.on_open(request, extra=extra)
        except (Exception, asyncio.CancelledError):  # the latter raised by a plain function is an error like others
            raise self._open_failed() from None
        except BaseException:
            self.abort(*OPEN_FAILED)
            raise
        finally:
            if (seconds := monotonic() - started) > _MAX_BLOCKING:
                self._log_blocking("on_open", seconds)
        if is_awaitable(result):
            return self._run_in_task(self._finish_open(result), self._handler_lock.acquire(), result)
        return self._conclude_open(result)

    async def _finish_open(self, awaitable: Awaitable[Any]) -> bool:
        self._open_task = asyncio.current_task()
        try:
            result = await self._result_of(awaitable, "on_open")
        except Exception:
            raise self._open_failed() from None
        except BaseException:
            self.abort(*OPEN_FAILED)
            raise
        finally:
            self._open_task = None  # which refers to this session: break the reference cycle
            del awaitable  # break a reference cycle, as in _result_of
        return self._conclude_open(result)

    def _open_failed(self) -> HandlerError:
        logger.exception("%s: on_open failed", self)
        self.abort(*OPEN_FAILED)
        return HandlerError("connection")

    def _conclude_open(self, result: Any) -> bool:
        if result is False:
            self.abort(*REFUSED)
            return False
        self._accept()
        return True

    def _is_in_on_open(self) -> bool:
        """Whether the caller is ``on_open``, before whose end nothing is sent."""
        return self._open_task is not None and self._open_task is asyncio.current_task()

    def receive(self, frames: Iterable[tuple[str, Any]]) -> "bool | asyncio.Task[bool]":
        """Call ``on_message`` for each message of a payload, after those of earlier payloads.

        :param frames: pairs as :func:`tornadio.proto.iter_decode` yields them.
        :returns: whether all were handled: those after the end of the connection are not. Where that takes time, a task
            of that result, or of the same errors.
        :raises ProtocolError: a bad frame, after the good ones before it were handled.
        :raises HandlerError: ``on_message`` raised; the session is closing.
        """
        remaining = iter(frames)
        awaitable = None
        if not self._handler_lock.locked:
            done = self._handle_frames(remaining)
            if isinstance(done, bool):
                return done
            awaitable = done
        waiter = self._handler_lock.acquire()
        return self._run_in_task(self._handle_frames_in_turn(waiter, awaitable, remaining), waiter, awaitable)

    def _handle_frames(self, frames: Iterator[tuple[str, Any]]) -> bool | Awaitable[Any]:
        """Handle frames until something has to be awaited: a handler, or a turn of the event loop for others.

        :returns: as for :meth:`receive`, or what is to be awaited before the rest of ``frames``.
        """
        self.frames_this_tick += 1  # the payload itself: one without frames costs time, too
        if self.frames_this_tick >= _MAX_FRAMES_PER_TICK:
            self.frames_this_tick = 0
            return asyncio.sleep(0)
        started = called = now = monotonic()
        for kind, message in frames:
            if self.is_closed:
                return False
            if kind != proto.HEARTBEAT:
                try:
                    result = self.connection.on_message(message)
                except (Exception, asyncio.CancelledError):
                    if (seconds := monotonic() - called) > _MAX_BLOCKING:
                        self._log_blocking("on_message", seconds)
                    raise self._message_failed() from None
                now = monotonic()
                if now - called > _MAX_BLOCKING:
                    self._log_blocking("on_message", now - called)
                called = now
                if result is not None and inspect.isawaitable(result):  # is_awaitable, without the call
                    return result
            self.frames_this_tick += 1
            if self.frames_this_tick >= _MAX_FRAMES_PER_TICK or now - started > _MAX_SECONDS_PER_TICK:
                self.frames_this_tick = 0
                return asyncio.sleep(0)
        return True

    async def _handle_frames_in_turn(
        self, waiter: Waiter | None, awaitable: Awaitable[Any] | None, frames: Iterator[tuple[str, Any]]
    ) -> bool:
        """Handle the rest of a payload's frames.

        :param waiter: what ``acquire`` of the lock returned.
        :param awaitable: of the handler that was called already, if any.
        """
        if waiter is not None and not await waiter:
            return False
        started = monotonic()
        while True:
            if awaitable is not None:
                try:
                    await self._result_of(awaitable, "on_message")
                    # A coroutine need not have waited for anything. Of 0 frames, it was others' turn just now.
                    if self.frames_this_tick and monotonic() - started > _MAX_SECONDS_PER_TICK:
                        self.frames_this_tick = 0
                        await asyncio.sleep(0)
                    if not self.frames_this_tick:
                        started = monotonic()
                except Exception:
                    raise self._message_failed() from None
                except BaseException:
                    self.close(*MESSAGE_FAILED)
                    raise
                finally:
                    awaitable = None  # break a reference cycle, as in _result_of
            done = self._handle_frames(frames)
            if isinstance(done, bool):
                return done
            awaitable = done

    def _message_failed(self) -> HandlerError:
        logger.exception("%s: on_message failed", self)
        self.close(*MESSAGE_FAILED)
        return HandlerError()

    def _run_in_task(
        self, work: Coroutine[Any, Any, R], waiter: Waiter | None, awaitable: Awaitable[Any] | None
    ) -> "asyncio.Task[R]":
        """Start a task that holds the lock, or is in the queue for it, until it ends."""
        task = self._tasks.spawn(work)
        task.add_done_callback(functools.partial(self._release_lock, waiter, awaitable))
        return task

    def _release_lock(self, waiter: Waiter | None, awaitable: Awaitable[Any] | None, task: "asyncio.Task[Any]") -> None:
        # In a callback, not in the task: one that was cancelled before its first step never runs its "finally".
        if inspect.iscoroutine(awaitable):
            awaitable.close()  # that task has not awaited it either
        self._handler_lock.release(waiter)

    def _start_on_close(self) -> None:
        """Let ``on_close`` run after the handler that is running; handlers that wait for their turn never run."""
        # Rejected before on_close queues for the lock: so it follows the running handler.
        self._handler_lock.reject_waiters()
        self._tasks.spawn_on_close(self._run_on_close())

    async def _run_on_close(self) -> None:
        waiter = self._handler_lock.acquire()
        try:
            if waiter is not None:
                await waiter
            await self._result_of(self._call_on_close(), "on_close")
        except Exception:
            logger.exception("%s: on_close failed", self)
        finally:
            self._handler_lock.release(waiter)
            self._connection = None  # it refers to this session: a reference cycle
            self._on_close_finished()

    def _call_on_close(self) -> Any:
        started = monotonic()
        try:
            return self.connection.on_close()
        except asyncio.CancelledError as error:
            # Out of the task of _run_on_close it would count as that task's own cancellation, and not be logged.
            raise _cancelled_elsewhere() from error
        finally:
            if (seconds := monotonic() - started) > _MAX_BLOCKING:
                self._log_blocking("on_close", seconds)

    async def _result_of(self, result: Any, handler: str) -> Any:
        """Return the result of a handler: what it returned, or the result of awaiting that.

        :param handler: the name of its method.
        :raises RuntimeError: the handler awaited something that was cancelled, while it was not cancelled itself.
        """
        try:
            if isinstance(result, types.CoroutineType):
                return await self._await_timed(result, handler)
            return await result if is_awaitable(result) else result
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise _cancelled_elsewhere() from error
        finally:
            del result  # the traceback of a future's error refers to this frame: a reference cycle

    @types.coroutine
    def _await_timed(self, coroutine: Coroutine[Any, Any, R], handler: str) -> Generator[Any, Any, R]:
        """Await a handler's coroutine, as ``yield from`` does (PEP 380), and time its steps between two awaits."""
        value = error = awaited = None
        while True:
            started = monotonic()
            try:
                awaited = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                result: R = stop.value
                return result
            finally:
                error = None  # its traceback refers to this frame: a reference cycle
                now = monotonic()
                if now - started > _MAX_BLOCKING:
                    self._log_blocking(handler, now - started)
            try:
                value = yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as thrown:
                error = thrown
            finally:
                awaited = None  # a future, whose error's traceback will refer to this frame

    def _log_blocking(self, handler: str, seconds: float) -> None:
        classes = type(self.connection).__mro__
        owner = next((each for each in classes if handler in vars(each)), classes[0])
        logger.warning(
            "%s: %s.%s blocked the event loop for %.1f s: await, or run it with asyncio.to_thread",
            self,
            owner.__qualname__,
            handler,
            seconds,
        )


def is_awaitable(result: Any) -> bool:
    """Whether a handler returned something that has to be awaited."""
    return result is not None and inspect.isawaitable(result)


def _cancelled_elsewhere() -> RuntimeError:
    """Return the error for a handler that awaited something cancelled, in place of the CancelledError."""
    return RuntimeError("the handler waited for something that was cancelled")
