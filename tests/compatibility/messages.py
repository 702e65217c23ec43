"""Messages that have gone wrong elsewhere."""

from __future__ import annotations

from typing import Any, Final

HOSTILE: Final = (
    "</script><script>alert(1)</script>",
    "\u2028\u2029 \" ' \\ \\u2028 &amp; %7E + \x01",
    "~m~3~m~abc",
    "~j~{}",
    "~h~1",
    "trailing blanks   ",
    "\n\r\n one\ntwo\r\n",
)
NESTED: Final[Any] = {"a": [1, 2.5, None, True, {"é中😀": ["\n", {"deep": [[], {}]}]}], "": "</script>"}
MEGABYTE: Final = ("a" * 89 + "é中😀") * ((1 << 20) // 98 + 1)
