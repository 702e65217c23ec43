"""Text inside scripts: string literals of JavaScript."""

from simplejson.encoder import JSONEncoderForHTML

_encode = JSONEncoderForHTML().encode


def js_string_literal(text: str) -> str:
    """``text`` as a JavaScript string literal, in ASCII.

    Quotes, newlines, ``<``, ``>`` and ``&`` are escaped: nothing in it ends the literal, or a ``<script>`` around it.
    """
    return _encode(text)
