"""POST bodies: the payload in the field ``data``, percent-decoded as the body arrives. Knows no I/O.

:func:`parse_post_body` decodes a body that was received as a whole, a :class:`BodyDecoder` one that comes in pieces.
Both give the same payload, or the same error, however a body is cut.
"""

import binascii
import re
from typing import Final, Protocol

from tornado.httputil import HTTPFile, HTTPInputError, parse_body_arguments

from tornadio.errors import ProtocolError, TooLargeError

# Bytes of a body besides those of its payload: other fields, and the boundaries and headers of multipart/form-data.
OVERHEAD: Final = 4096

_MULTIPART: Final = "multipart/form-data"
_ESCAPE_LENGTH: Final = 3  # percent-encoding makes a byte at most three
_FIELD: Final = b"&data="
_NO_ESCAPE: Final = re.compile(rb"%(?![0-9a-fA-F]{2})")


class BodyDecoder(Protocol):
    """Decodes a body that is received in pieces.

    :ivar size: bytes that are kept at the moment.
    """

    @property
    def size(self) -> int: ...

    def feed(self, data: bytes) -> None:
        """Decode the next piece.

        :raises TooLargeError: the payload has more bytes than it may have; then no more pieces may be fed.
        """

    def finish(self) -> str:
        """Return the payload, once the whole body was fed.

        :raises ProtocolError: the body does not have exactly one field ``data``, which holds UTF-8.
        """


def max_body_size(content_type: str, max_payload_size: int) -> int:
    """Return the bytes that a body may have: those of the largest payload, each percent-encoded, and of what else is in
    a body.
    """
    expansion = 1 if content_type.startswith(_MULTIPART) else _ESCAPE_LENGTH
    return expansion * max_payload_size + OVERHEAD


def parse_post_body(body: bytes, content_type: str, max_payload_size: int) -> str:
    """Decode the payload in a POST's field ``data``.

    :param content_type: the header; without one the body comes from Internet Explorer's XDomainRequest, which encodes
        nothing by itself, so that a ``+`` stands for itself.
    :param max_payload_size: bytes that the payload may have.
    :raises ProtocolError: no such field, or more than one, a ``%`` in it that begins no escape, or not UTF-8.
    :raises TooLargeError: more than ``max_payload_size`` bytes.
    """
    if not content_type.startswith(_MULTIPART):
        _, *values = (b"&" + body).split(_FIELD, 2)
        if len(values) == 1:
            encoded = values[0].partition(b"&")[0]
            if b"%" not in encoded or _NO_ESCAPE.search(encoded) is None:
                payload = _unquote(encoded, _is_form(content_type))
                if len(payload) <= max_payload_size:
                    return _utf8_text(payload)
    decoder = make_decoder(content_type, max_payload_size)  # its errors are what is wrong
    decoder.feed(body)
    return decoder.finish()


def make_decoder(content_type: str, max_payload_size: int) -> BodyDecoder:
    """Return the decoder of a body, by its content type; parameters as of :func:`parse_post_body`."""
    if content_type.startswith(_MULTIPART):
        return MultipartDecoder(content_type, max_payload_size)
    return UrlencodedDecoder(content_type, max_payload_size)


class UrlencodedDecoder:
    """The :class:`BodyDecoder` of ``application/x-www-form-urlencoded``, and of bodies without a content type.

    Keeps the field ``data`` as decoded bytes, and nothing of other fields. Of a body with several mistakes the first
    one counts, unless there are several fields ``data``.
    """

    __slots__ = (
        "_bad_escape",
        "_decoded",
        "_fields",
        "_in_field",
        "_is_form",
        "_max_payload_size",
        "_payload",
        "_rest",
    )

    def __init__(self, content_type: str, max_payload_size: int) -> None:
        self._is_form = _is_form(content_type)
        self._max_payload_size = max_payload_size
        self._payload = bytearray()
        self._decoded = 0  # bytes of the field's value, as it was sent
        self._bad_escape: int | None = None  # where in that value the first one is
        self._fields = 0  # that are named data
        self._in_field = False  # whether the end of the field has not come
        # The end of the pieces before: the beginning of an escape in the field, of the field's name elsewhere.
        self._rest = b"&"

    @property
    def size(self) -> int:
        return len(self._payload)

    def feed(self, data: bytes) -> None:
        data = self._rest + data
        while self._fields <= 1:
            if not self._in_field:
                name = data.find(_FIELD)
                if name < 0:
                    self._rest = data[1 - len(_FIELD) :]
                    return
                self._fields += 1
                self._in_field = True
                data = data[name + len(_FIELD) :]
            else:
                end = data.find(b"&")
                if end < 0:
                    end = len(data) - _length_of_open_escape(data)
                    self._rest = data[end:]
                    self._decode(data[:end])
                    return
                self._decode(data[:end])
                self._in_field = False
                data = data[end:]
        self._rest = b""
        self._payload.clear()

    def _decode(self, encoded: bytes) -> None:
        if self._bad_escape is not None:
            return
        if b"%" in encoded and (bad := _NO_ESCAPE.search(encoded)) is not None:
            self._bad_escape = self._decoded + bad.start()
            encoded = encoded[: bad.start()]
        self._decoded += len(encoded)
        self._payload += _unquote(encoded, self._is_form)
        size = len(self._payload)
        if size > self._max_payload_size or self._bad_escape is not None:
            self._payload.clear()
        if size > self._max_payload_size:
            raise _too_large(self._max_payload_size)

    def finish(self) -> str:
        if self._in_field and self._fields == 1:
            self._decode(self._rest)
        _check_one_field(self._fields)
        if self._bad_escape is not None:
            raise ProtocolError(
                f"the field data has a % at {self._bad_escape} that begins no escape: send encodeURIComponent(FRAMES)"
            )
        return _utf8_text(self._payload)


class MultipartDecoder:
    """The :class:`BodyDecoder` of ``multipart/form-data``, in which nothing is percent-encoded: keeps the body."""

    __slots__ = ("_body", "_content_type", "_max_payload_size")

    def __init__(self, content_type: str, max_payload_size: int) -> None:
        self._content_type = content_type
        self._max_payload_size = max_payload_size
        self._body = bytearray()

    @property
    def size(self) -> int:
        return len(self._body)

    def feed(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._max_payload_size + OVERHEAD:
            self._body.clear()
            raise _too_large(self._max_payload_size)

    def finish(self) -> str:
        arguments: dict[str, list[bytes]] = {}
        files: dict[str, list[HTTPFile]] = {}
        try:
            parse_body_arguments(self._content_type, bytes(self._body), arguments, files)
        except HTTPInputError as error:
            raise ProtocolError(f"bad multipart/form-data: {error}") from None
        values = arguments.get("data", [])
        _check_one_field(len(values))
        if len(values[0]) > self._max_payload_size:
            raise _too_large(self._max_payload_size)
        return _utf8_text(values[0])


def _is_form(content_type: str) -> bool:
    """Whether a ``+`` stands for a blank."""
    return content_type != "" and not content_type.startswith("text/plain")


def _length_of_open_escape(data: bytes) -> int:
    """Return how many bytes at the end of ``data`` may be the beginning of an escape, whose rest is still to come."""
    return 1 if data.endswith(b"%") else 2 if data[-2:-1] == b"%" else 0


def _unquote(encoded: bytes, is_form: bool) -> bytes:
    """Decode percent-encoding without mistakes, by the C function for quoted-printable: that has ``=`` for ``%``."""
    if is_form:
        encoded = encoded.replace(b"+", b" ")
    if b"%" not in encoded:
        return encoded
    return binascii.a2b_qp(encoded.replace(b"=", b"=3D").replace(b"%", b"="))


def _check_one_field(count: int) -> None:
    if count != 1:
        raise ProtocolError(f"the body must have one field data=FRAMES, it has {'several' if count else 'none'}")


def _utf8_text(payload: bytes | bytearray) -> str:
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("the field data is not UTF-8") from None


def _too_large(max_payload_size: int) -> TooLargeError:
    return TooLargeError(
        f"the field data has more than {max_payload_size} bytes (max_payload_size): send fewer messages at once"
    )
