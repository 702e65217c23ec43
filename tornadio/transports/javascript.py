"""JavaScript string literals, for payloads inside scripts."""

from simplejson.encoder import JSONEncoderForHTML

# In ASCII by default, so that it escapes U+2028 and U+2029, too: JSON has them in strings, JavaScript before ECMAScript
# 2019 has not.
_encode = JSONEncoderForHTML().encode


def js_string_literal(text: str) -> str:
    """Return ``text`` as a JavaScript string literal, in ASCII.

    Quotes, newlines, ``<``, ``>`` and ``&`` are escaped: nothing in it ends the literal, or a ``<script>`` around it.
    """
    return _encode(text)
