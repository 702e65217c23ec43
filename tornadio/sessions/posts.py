"""POSTs to a session: until when one keeps the session alive, and how much memory those of one session may use."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from tornadio.errors import RefusedError

if TYPE_CHECKING:
    from tornadio.sessions.base import BaseSession

# The official 0.6 client sends a session's POSTs one after the other. A session has no more POSTs than so many that are
# read, wait for their turn or are handled, and no more decoded bytes than so many payloads of ``max_payload_size``.
_MAX_POSTS: Final = 16
_MAX_PAYLOADS: Final = 2


class Post:
    """A POST to a session, from its headers on until its messages were handled and its response was written.

    :ivar session: the session.
    :ivar size: bytes of memory that the POST holds: of its payload, what was received.
    :ivar is_awaited: whether a client waits for the response. Meanwhile the session is not closed and does not expire.
    :ivar on_session_end: called if the session ends before the messages were handled; ``None`` if nothing waits.
    """

    __slots__ = ("is_awaited", "on_session_end", "session", "size")

    def __init__(self, session: "BaseSession") -> None:
        self.session = session
        self.size = 0
        self.is_awaited = False
        self.on_session_end: Callable[[], None] | None = None


NO_POSTS: Final[frozenset[Post]] = frozenset()


def check_capacity(posts: Collection[Post], post: Post, size: int, max_payload_size: int) -> None:
    """Check that a POST may hold ``size`` bytes of memory. The only POST of a session may hold any number.

    :param posts: the session's.
    :param size: bytes that ``post`` is to hold.
    :raises RefusedError: 503, the session's POSTs are too many or too large.
    """
    others = [other.size for other in posts if other is not post] if posts else []
    if others and (len(others) >= _MAX_POSTS or sum(others) + size > _MAX_PAYLOADS * max_payload_size):
        reason = "too many POSTs of this session wait: send the next one when they are answered"
        raise RefusedError(503, reason, label="posts")
