"""``ClientConnection``, what an application holds of a connection to a server."""

from types import TracebackType
from typing import Any, Final

from tornadio.client.session import ClientSession
from tornadio.errors import ConnectionClosed, EncodeError

NORMAL_CLOSE_CODES: Final = (1000, 1001, 1005)  # of an end as it should be (RFC 6455, section 7.4.1)


class ClientConnection:
    """An open connection to a Socket.IO 0.6 server, made by :func:`tornadio.connect`.

    Its methods are for the thread of its event loop; any number of tasks may call them. Iteration yields the messages
    that are received, and ends with the connection: silently at a normal end (close codes 1000, 1001 and 1005), else
    with :exc:`~tornadio.errors.ConnectionClosed`.
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._messages = session.messages

    def __repr__(self) -> str:
        cause = self._session.cause
        return f"<{type(self).__name__} {self._session}, {'open' if cause is None else f'ended with {cause.code}'}>"

    def __str__(self) -> str:
        return str(self._session)

    # -- State -----------------------------------------------------------------------------------------------------

    @property
    def transport(self) -> str:
        """The name of the transport that was chosen."""
        return self._session.transport

    @property
    def session_id(self) -> str | None:
        """The id that the server has given; ``None`` with ``first_frame="message"``."""
        return self._session.session_id

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended. Messages that were received before may still be there."""
        return self._session.cause is not None

    @property
    def close_code(self) -> int | None:
        """The close code (RFC 6455, section 7.4.1), ``None`` while the connection is open.

        1005: the server has ended the session without a code, which only WebSockets have; 1006: the connection broke.
        """
        cause = self._session.cause
        return None if cause is None else cause.code

    @property
    def close_reason(self) -> str:
        """The close reason, or what has ended the connection; empty while it is open, or if there is none."""
        cause = self._session.cause
        return "" if cause is None else cause.reason

    @property
    def unsent(self) -> tuple[Any, ...]:
        """The messages that were given to :meth:`send` and not handed over to the server, in their order.

        Handed over is a message when the kernel has accepted all its bytes; on the other transports than ``websocket``,
        when the POST that carries it was answered 200. If a POST was under way when the connection ended, the server
        may have received its messages.
        """
        return self._session.unsent

    # -- Messages --------------------------------------------------------------------------------------------------

    async def send(self, message: Any) -> None:
        """Send a message: ``str``, and ``bytes`` of UTF-8, as a text; a list as its elements, each a message; ``None``
        as nothing; anything else as JSON.

        Returns when the message was sent or queued; while ``max_send_buffer`` bytes are queued it waits before. A call
        that is cancelled has not queued its message.

        :raises EncodeError: the message can't be sent; the connection stays open.
        :raises ConnectionClosed: the connection has ended.
        """
        await self._session.send(message)

    async def send_raw(self, payload: str) -> None:
        """Send a payload as it is, without framing: for tests of servers.

        :raises EncodeError: the payload has no UTF-8.
        :raises ConnectionClosed: the connection has ended.
        """
        check_payload(payload)
        await self._session.send_payload(payload, payload)

    async def flush(self) -> None:
        """Wait until all messages were handed over to the server, see :attr:`unsent`.

        :raises ConnectionClosed: the connection has ended before.
        """
        await self._session.flush()

    async def recv(self) -> Any:
        """Return the next message; wait for it. A call that is cancelled loses none.

        :raises ConnectionClosed: the connection has ended, and all messages that came before were returned.
        """
        messages = self._messages
        if not messages:
            return await self._session.receive()
        message = messages.popleft()
        if not messages:
            self._session.emptied()
        return message

    def __aiter__(self) -> "ClientConnection":
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.recv()
        except ConnectionClosed as error:
            if error.code in NORMAL_CLOSE_CODES:
                raise StopAsyncIteration from None
            raise

    # -- End -------------------------------------------------------------------------------------------------------

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection: send what is queued, then the close frame of a WebSocket, and wait for the server's.
        That takes ``close_timeout`` at most. Returns when no socket is left.

        :param code: a close code that may be sent, as is the reason; a server is told them by a WebSocket alone.
        :raises CloseError: code or reason can't be sent.
        """
        await self._session.close(code, reason)

    async def wait_closed(self) -> None:
        """Wait until the connection has ended and no socket is left. Messages may still be there."""
        await self._session.wait_closed()

    async def __aenter__(self) -> "ClientConnection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection; at once, without sending what is queued, if the block was left by an exception."""
        if kind is not None:
            self._session.leave()
            await self.wait_closed()  # which takes no more than some iterations of the loop
        else:
            await self.close()


def check_payload(payload: str) -> None:
    """Check a payload that is sent as it is.

    :raises EncodeError: it has no UTF-8.
    """
    try:
        payload.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EncodeError(f"can't send a text with half of a surrogate pair: {error}") from None
