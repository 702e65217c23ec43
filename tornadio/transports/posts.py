"""POSTs: the frames in a body go to the session that the path names; the response says whether they were handled. A
POST without a body ends the session: so a client says that it has left, a page for example that is closed.
"""

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

from tornadio import proto
from tornadio.closecodes import CLIENT_CLOSED
from tornadio.errors import HandlerError, PeerError, RefusedError, TooLargeError
from tornadio.sessions.base import BaseSession
from tornadio.sessions.posts import Post
from tornadio.sessions.state import State
from tornadio.transports import bodies
from tornadio.transports.responses import TEXT_PLAIN, Responder


class PostHandler(Responder):
    """Handles a POST, from its headers until its messages were handled and its response was sent."""

    _post: Post | None = None  # while the response to a POST to a session is pending
    _body_decoder: bodies.BodyDecoder | None = None  # while a body comes in pieces

    # -- Sessions ------------------------------------------------------------------------------------------------

    def find_session(self) -> BaseSession:
        """Return the session that the path names, and note that a request has named it.

        :raises RefusedError: 401, there is none of that id and transport.
        """
        session = self._lookup_session()
        if session is None:
            raise self.session_not_found()
        session.request_received()
        return session

    def _lookup_session(self) -> BaseSession | None:
        return self.endpoint.sessions.get(self.path.session_id, self.transport)

    def session_not_found(self) -> RefusedError:
        """Return the error for a request that names no session of its transport."""
        return RefusedError(401, "there is no such session: it has ended, or never was")

    # -- The body ------------------------------------------------------------------------------------------------

    @property
    def request_content_type(self) -> str:
        """The request's ``Content-Type``, empty if it has none."""
        return self.exchange.headers.get("Content-Type", "")

    @property
    def max_body_size(self) -> int:
        """Bytes that a body may have: a payload of ``max_payload_size`` as it may be encoded."""
        return bodies.max_body_size(self.request_content_type, self.endpoint.settings.max_payload_size)

    def too_large_error(self) -> TooLargeError:
        """Return the error for a body of more than :attr:`max_body_size`."""
        return TooLargeError(
            f"the body is larger than {self.max_body_size} bytes, "
            f"as a payload of {self.endpoint.settings.max_payload_size} (max_payload_size) may be encoded: "
            "send fewer messages at once"
        )

    def begin_post(self) -> None:
        """Note in the session that the path names that a POST comes. If there is no such session, :meth:`handle_post`
        raises, once the body was read.

        :raises RefusedError: 503, too many wait in the session already.
        """
        session = self._lookup_session()
        if session is not None and not session.is_closed:
            post = Post(session)
            session.reserve_post(post, 0)
            self._post = post
            session.request_received()  # not only with the whole body: a large one takes longer than a client to return

    def decode_body(self, data: bytes) -> None:
        """Decode the next piece of the body, if there is a session to handle it.

        :raises TooLargeError: the payload is larger than ``max_payload_size``.
        :raises RefusedError: 503, too much waits in the session already.
        """
        post = self._post
        if post is None or post.session.is_closed:
            self._body_decoder = None
            return
        decoder = self._body_decoder
        if decoder is None:
            decoder = bodies.make_decoder(self.request_content_type, self.endpoint.settings.max_payload_size)
            self._body_decoder = decoder
        decoder.feed(data)
        post.session.record_received(len(data))  # it can't echo a heartbeat before this POST is answered
        if decoder.size > post.size:
            post.session.reserve_post(post, decoder.size)

    def drop_post(self) -> None:
        """End a POST without a response: its body was not received to the end, or the response was sent early."""
        self._body_decoder = None
        post, self._post = self._post, None
        if post is not None:
            post.session.end_post(post)

    def handle_post(self, body: bytes) -> None:
        """Pass a POST's frames to its session; respond now, or when they were handled. If the POST has no body, end its
        session.

        :param body: the whole body; empty where :meth:`decode_body` was given it in pieces.
        :raises PeerError: the response.
        """
        post = self._post
        if post is None:
            raise self.session_not_found() if self.path.session_id else _no_session_named()
        session = post.session
        if session.is_closed:  # while the body was received
            self.drop_post()
            raise self.session_not_found()
        session.record_received(len(body))
        if not body and self._body_decoder is None:
            self._end_session(post)
            return
        session.post_received(post)
        try:
            payload = self._parse_body(body)
            frames = self._wait_for_turn(post, payload) if session.is_handling else self.decode(payload)
            outcome = session.receive(frames)
        except PeerError as error:
            # In this block: another name for the error, whose traceback refers to this frame, would make a cycle.
            self._respond_post(post, error)
        except BaseException:
            self.drop_post()
            raise
        else:
            if isinstance(outcome, bool):
                self._respond_post(post, outcome)
            else:
                post.size = post.size or len(payload.encode("utf-8"))
                self._respond_when_handled(post, outcome, frames)

    def _end_session(self, post: Post) -> None:
        """Close the session when what came before was handled, and respond. The response waits for nothing: whoever
        has left must not seem to wait for it.
        """
        session = post.session
        if session.is_handling:
            session.client_left(*CLIENT_CLOSED)
        try:
            closing = session.receive(_close_instead(session))
        except BaseException:
            self.drop_post()
            raise
        if isinstance(closing, bool):
            self.drop_post()
        else:
            self._post = None
            closing.add_done_callback(lambda closing: session.end_post(post))
        self.respond(200, TEXT_PLAIN, b"ok")

    def _parse_body(self, body: bytes) -> str:
        """Return the payload of the body.

        :raises ProtocolError: the body holds none.
        """
        decoder, self._body_decoder = self._body_decoder, None
        if decoder is not None:
            return decoder.finish()
        return bodies.parse_post_body(body, self.request_content_type, self.endpoint.settings.max_payload_size)

    def decode(self, data: str) -> Iterator[tuple[str, Any]]:
        """Yield the frames of a POST's payload."""
        settings = self.endpoint.settings
        return proto.iter_decode(data, settings.max_message_size, settings.json)

    def _wait_for_turn(self, post: Post, payload: str) -> Iterator[tuple[str, Any]]:
        """Return the frames of a payload that waits for a handler. The payload is kept as UTF-8 until then: a single
        emoji makes a ``str`` four times as large.

        :raises RefusedError: 503, too much waits in the session already.
        """
        encoded = payload.encode("utf-8")
        post.session.reserve_post(post, len(encoded))
        return self._decode_later(encoded)

    def _decode_later(self, payload: bytes) -> Iterator[tuple[str, Any]]:
        frames = self.decode(payload.decode("utf-8"))
        payload = b""  # which is not kept while its messages are handled
        yield from frames

    # -- The response --------------------------------------------------------------------------------------------

    def _respond_when_handled(self, post: Post, handling: "asyncio.Task[bool]", frames: Iterator[Any]) -> None:
        """Respond when the messages were handled, or as soon as the session closes."""
        handling.add_done_callback(self._on_handled)
        post.session.set_post_callback(post, functools.partial(self._on_session_closed, handling, frames))
        self.exchange.set_close_callback(functools.partial(post.session.release_post, post))

    def _on_handled(self, handling: "asyncio.Task[bool]") -> None:
        post = self._detach_post()
        if post is None:
            return  # the response was sent when the session closed
        if handling.cancelled():  # by a shutdown, at its deadline, or by the application
            self._respond_post(post, HandlerError())
        elif (error := handling.exception()) is not None:
            self._respond_post(post, error if isinstance(error, PeerError) else HandlerError())
        else:
            self._respond_post(post, handling.result())

    def _on_session_closed(self, handling: "asyncio.Task[bool]", frames: Iterator[Any]) -> None:
        """Respond before the messages were handled. If the application closed the session, the message whose handler
        runs is still handled, those behind it are not.
        """
        if handling.done():
            self._on_handled(handling)
        elif (post := self._detach_post()) is not None:
            try:
                is_last = post.session.state is State.CLOSING and next(frames, None) is None
            except PeerError:
                is_last = False
            self._respond_post(post, is_last)

    def _detach_post(self) -> Post | None:
        """Return the POST if its response is still pending, and leave the response to the caller."""
        post, self._post = self._post, None
        if post is not None:
            post.on_session_end = None  # a callback of this object: break the reference cycle
        return post

    def _respond_post(self, post: Post, outcome: bool | PeerError) -> None:
        """Respond, and end the POST when the response was written to the socket.

        :param outcome: whether all messages were handled, or the error that the response tells.
        """
        session = post.session
        if outcome is False:
            outcome = self._partly_handled_error()
        if isinstance(outcome, PeerError):
            self.respond_error(outcome)
            if isinstance(outcome, TooLargeError):
                session.close(outcome.close_code, str(outcome))
        else:
            self.respond(200, TEXT_PLAIN, b"ok")
        # The session is closed only after that: see BaseSession.post_received.
        flushed = self.exchange.flushed()
        if flushed is None:
            session.end_post(post)
        else:
            flushed.add_done_callback(lambda flushed: session.end_post(post))

    def _partly_handled_error(self) -> RefusedError:
        """Return the error for a POST whose session ended before all of its messages were handled."""
        if self.endpoint.sessions.draining:
            return RefusedError(503, "shutting down, not all of this was handled")
        return RefusedError(401, "the session has ended, and not all of this was handled")


def _close_instead(session: BaseSession) -> Iterator[tuple[str, Any]]:
    """Yield no frames, but close the session in their turn. What is queued for the client is delivered as ever: one
    that changes to another session polls until it has got all.
    """
    session.close(*CLIENT_CLOSED)
    yield from ()


def _no_session_named() -> RefusedError:
    return RefusedError(400, "a POST needs a session: open one with a GET")
