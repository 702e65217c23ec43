"""Texts of the protocol: JSON frames, what is no JSON, and whatever hypothesis makes up."""

from __future__ import annotations

from hypothesis import strategies as st


def frame(text: str) -> str:
    """A frame, its length counted by hand: a character behind U+FFFF has two code units."""
    return f"~m~{sum(2 if character > chr(0xFFFF) else 1 for character in text)}~m~{text}"


def json_frame(text: str) -> str:
    return frame("~j~" + text)


# What JSON.parse refuses; and what a client may not send, either.
NO_JSON = [
    *("", " ", "{", "{a: 1}", "{'a': 1}", '{"a": 1,}', "[1,]", "[1 2]", "1 2", "01", "1.", ".5", "+1", "0x10", "NaN"),
    *(
        "Infinity",
        "-Infinity",
        "undefined",
        "True",
        '"a',
        '"\t"',
        r'"\x"',
        r'"\u12"',
        "\ufeff{}",
        "\xa0{}",
        "// a\n1",
        "hello",
    ),
    *("[" * 100_000, "1e999", "9" * 5000),
]

# What could end a string in a script, or the script itself, if it were written there as it is.
IN_SCRIPTS = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "\"); alert(1); (\"",
    "'); alert(1); ('",
    "\\\"); alert(1); //",
    "\u2028\u2029\n\r\0\x1b\x7f",
    "&lt;&amp;&#60;",
    "é中😀",
    "~m~3~m~abc",
]  # fmt: skip

CHARACTERS = st.one_of(st.characters(), st.characters(min_codepoint=0x10000), st.characters(categories=["Cs"]))
TEXTS = st.one_of(st.text(CHARACTERS), st.text(st.sampled_from("~mjh0123é😀\ud83d\ude00")))
PROTOCOL_TEXTS = st.lists(
    st.one_of(st.sampled_from(["~m~", "~j~", "~h~", "~", "0", "3", "9" * 12, "[", '"', "\\ud83d", "1e999"]), TEXTS)
).map("".join)
