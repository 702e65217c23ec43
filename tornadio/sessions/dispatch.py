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
from collections.abc import Awaitable, Coroutine, Generator, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tornadio import proto
from tornadio.closecodes import MESSAGE_FAILED, OPEN_FAILED, REFUSED
from tornadio.errors import HandlerError
from tornadio.logs import get_logger
from tornadio.net.fifolock import FifoLock, Waiter
from tornadio.net.tasks import Tasks, is_cancelled
from tornadio.sessions.counters import FAST, Traffic
from tornadio.sessions.sender import Sender

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


class _Turn:
    """What is awaited for a turn of the event loop for others: no handler's."""

    def __await__(self) -> Generator[None, None, None]:
        yield


_TURN: Final = _Turn()


class Dispatcher(Sender):
    """Calls the handlers of one connection. A base class of sessions: a second object for each costs memory.

    :param connection: the application's object.
    :param tasks: where handlers that are coroutines run.
    :param traffic: the counters of the session's transport.
    :ivar client_has_gone: whether the client has, although messages that it has sent before are still to be handled.
    :ivar frames_this_tick: frames and payloads handled since the event loop had a turn. A transport that waits for the
        event loop before it reads sets it to 0.
    :ivar messages_in: messages for which ``on_message`` was called.
    :ivar traffic: as given.
    """

    __slots__ = (
        "_connection",
        "_handler_lock",
        "_open_task",
        "_tasks",
        "client_has_gone",
        "frames_this_tick",
        "messages_in",
        "traffic",
    )

    def __init__(self, connection: "SocketConnection", tasks: Tasks, traffic: Traffic) -> None:
        super().__init__()
        self._connection: SocketConnection | None = connection  # until on_close has run
        self._tasks = tasks
        self._handler_lock = FifoLock()
        self._open_task: asyncio.Task[Any] | None = None  # that runs on_open
        self.client_has_gone = False
        self.frames_this_tick = 0
        self.messages_in = 0
        self.traffic = traffic

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
            result = self._tasks.call(self.connection.on_open, request, extra=extra)
        except (Exception, asyncio.CancelledError):  # the latter raised by a plain function is an error like others
            raise self._open_failed() from None
        except BaseException:
            self.abort(*OPEN_FAILED)
            raise
        finally:
            seconds = monotonic() - started
            if seconds > _MAX_BLOCKING:
                self._log_blocking("on_open", seconds)
        if is_awaitable(result):
            return self._run_in_task(self._finish_open(result), self._handler_lock.acquire(), result)
        self.traffic.counters.calls["on_open"].observe(seconds)
        return self._conclude_open(result)

    async def _finish_open(self, awaitable: Awaitable[Any] | None) -> bool:
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
            awaitable = None  # break a reference cycle, as in _result_of
        return self._conclude_open(result)

    def _open_failed(self) -> HandlerError:
        self.traffic.counters.errors["on_open"] += 1
        logger.exception("%s: on_open failed", self)
        self.abort(*OPEN_FAILED)
        return HandlerError("connection")

    def _conclude_open(self, result: Any) -> bool:
        if result is False:
            self.abort(*REFUSED)
            return False
        self._accept()
        return True

    def call_greeting(self) -> Any:
        """Call ``greeting``, for :func:`tornadio.sessions.greeting.first_frame`. Raises what it raises."""
        started = monotonic()
        try:
            return self._tasks.call(self.connection.greeting)
        finally:
            seconds = monotonic() - started
            self.traffic.counters.calls["greeting"].observe(seconds)
            if seconds > _MAX_BLOCKING:
                self._log_blocking("greeting", seconds)

    def _is_in_on_open(self) -> bool:
        """Whether the caller is ``on_open``, before whose end nothing is sent."""
        task = self._open_task
        return task is not None and task is asyncio.current_task()

    def receive(self, frames: Iterator[tuple[str, Any]]) -> "bool | asyncio.Task[bool]":
        """Call ``on_message`` for each message of a payload, after those of earlier payloads.

        :param frames: pairs as :func:`tornadio.proto.iter_decode` yields them.
        :returns: whether all were handled: those after the end of the connection are not. Where that takes time, a task
            of that result, or of the same errors.
        :raises ProtocolError: a bad frame, after the good ones before it were handled.
        :raises HandlerError: ``on_message`` raised; the session is closing.
        """
        awaitable = None
        if not self._handler_lock.locked:
            done = self._tasks.context.copy().run(self._handle_frames, frames)  # as call(), without a call
            if isinstance(done, bool):
                return done
            awaitable = done
        waiter = self._handler_lock.acquire()
        return self._run_in_task(self._handle_frames_in_turn(waiter, awaitable, frames), waiter, awaitable)

    def _handle_frames(self, frames: Iterator[tuple[str, Any]]) -> bool | Awaitable[Any]:
        """Handle frames until something has to be awaited: a handler, or a turn of the event loop for others.

        :returns: as for :meth:`receive`, or what is to be awaited before the rest of ``frames``.
        """
        self.frames_this_tick += 1  # the payload itself: one without frames costs time, too
        if self.frames_this_tick >= _MAX_FRAMES_PER_TICK:
            self.frames_this_tick = 0
            return _TURN
        started = called = now = monotonic()
        try:
            for kind, message in frames:
                if self.is_closed:
                    return False
                if kind != proto.HEARTBEAT:
                    self.messages_in += 1
                    try:
                        result = self._connection.on_message(message)  # type: ignore[union-attr]
                    except (Exception, asyncio.CancelledError):
                        now = monotonic()
                        self._slow_message(now - called)
                        raise self._message_failed() from None
                    now = monotonic()
                    if result is not None and inspect.isawaitable(result):  # is_awaitable, without the call
                        self.traffic.counters.awaited += 1
                        if now - called > _MAX_BLOCKING:
                            self._log_blocking("on_message", now - called)
                        return result
                    if now - called > FAST:
                        self._slow_message(now - called)
                    called = now
                else:
                    self._heartbeat_received(message)
                self.frames_this_tick += 1
                if self.frames_this_tick >= _MAX_FRAMES_PER_TICK or now - started > _MAX_SECONDS_PER_TICK:
                    self.frames_this_tick = 0
                    return _TURN
            return True
        finally:
            self.traffic.message_seconds += now - started

    def _slow_message(self, seconds: float) -> None:
        """Count a call of ``on_message`` that is not one of the fast ones; log it if it has blocked the event loop."""
        if seconds > FAST:
            self.traffic.counters.calls["on_message"].observe(seconds)
        if seconds > _MAX_BLOCKING:
            self._log_blocking("on_message", seconds)

    def _heartbeat_received(self, number: str) -> None:
        """Count a heartbeat of the client's, an echo of ours or not."""
        self.traffic.heartbeats_in += 1

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
                    await (awaitable if awaitable is _TURN else self._result_of(awaitable, "on_message"))
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
        self.traffic.counters.errors["on_message"] += 1
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
        self._tasks.call_on_close(self._begin_on_close)

    def _begin_on_close(self) -> None:
        """Call ``on_close``. A task waits for the handler that is running, and for what ``on_close`` has returned."""
        result = None
        if not self._handler_lock.locked:
            try:
                result = self._call_on_close()
            except Exception:
                self._on_close_failed()
            except BaseException:
                self._conclude_close()
                raise
            if not is_awaitable(result):
                self._conclude_close()
                return
        self._tasks.spawn_on_close(self._finish_on_close(result))

    async def _finish_on_close(self, awaitable: Awaitable[Any] | None) -> None:
        """Await what ``on_close`` has returned, or call it after the handler that is running.

        :param awaitable: ``None`` if it was not called yet.
        """
        waiter = self._handler_lock.acquire()
        try:
            if waiter is not None and not self._tasks.is_last_moment:
                await waiter
            await self._result_of(self._call_on_close() if awaitable is None else awaitable, "on_close")
        except Exception:
            self._on_close_failed()
        finally:
            awaitable = None  # break a reference cycle, as in _result_of
            self._handler_lock.release(waiter)
            self._conclude_close()

    def _on_close_failed(self) -> None:
        self.traffic.counters.errors["on_close"] += 1
        logger.exception("%s: on_close failed", self)

    def _conclude_close(self) -> None:
        self._connection = None  # it refers to this session: a reference cycle
        self._on_close_finished()

    def _call_on_close(self) -> Any:
        started = monotonic()
        result = None
        try:
            result = self.connection.on_close()
            return result
        except asyncio.CancelledError as error:
            # Out of the task of _finish_on_close it would count as that task's own cancellation, and not be logged.
            raise _cancelled_elsewhere() from error
        finally:
            seconds = monotonic() - started
            if not is_awaitable(result):
                self.traffic.counters.calls["on_close"].observe(seconds)
            if seconds > _MAX_BLOCKING:
                self._log_blocking("on_close", seconds)
            del result  # whose exception's traceback refers to this frame: a reference cycle

    async def _result_of(self, result: Any, handler: str) -> Any:
        """Return the result of a handler: what it returned, or the result of awaiting that.

        :param handler: the name of its method.
        :raises RuntimeError: the handler awaited something that was cancelled, while it was not cancelled itself.
        """
        try:
            if isinstance(result, types.CoroutineType):
                return await self._await_timed(result, handler)
            if not is_awaitable(result):
                return result
            started = monotonic()
            try:
                return await result
            finally:
                self._awaited(handler, monotonic() - started)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise _cancelled_elsewhere() from error
        finally:
            result = None  # the traceback of a future's error refers to this frame: a reference cycle

    @types.coroutine
    def _await_timed(self, coroutine: Coroutine[Any, Any, R], handler: str) -> Generator[Any, Any, R]:
        """Await a handler's coroutine, as ``yield from`` does (PEP 380), and time its steps between two awaits."""
        value = error = awaited = None
        called = 0.0
        while True:
            started = monotonic()
            called = called or started
            has_ended = True
            try:
                awaited = coroutine.send(value) if error is None else coroutine.throw(error)
                has_ended = False
            except StopIteration as stop:
                result: R = stop.value
                return result
            finally:
                error = None  # its traceback refers to this frame: a reference cycle
                now = monotonic()
                if has_ended:
                    self._awaited(handler, now - called)
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

    def _awaited(self, handler: str, seconds: float) -> None:
        """Count the call of a handler that was awaited."""
        counters = self.traffic.counters
        (counters.awaited_calls if handler == "on_message" else counters.calls[handler]).observe(seconds)

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
