"""docs/vectors.json, and the tables of docs/protocol.rst that show some of it.

`python -m tests.documents.vectors` prints their rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from tests.documents.pages import REPOSITORY

VECTORS: Final[dict[str, Any]] = json.loads((REPOSITORY / "docs" / "vectors.json").read_text(encoding="utf-8"))

BLANK: Final = r"\x20"

HEADS: Final = {
    "payloads": ["name", "payload", "messages"],
    "bad_payloads": ["name", "payload", "messages before the error"],
    "bodies": ["name", "body", "payload"],
}


def rows(key: str) -> Iterator[list[str]]:
    """The rows of a table."""
    for vector in VECTORS[key]:
        if key == "bodies":
            yield [vector["name"], _literal(vector["body"]), _literal(vector["payload"])]
        else:
            messages = ", ".join(_literal(_shown(message)) for message in vector["messages"])
            yield [vector["name"], _literal(vector["payload"]), messages or "none"]


def _shown(message: dict[str, Any]) -> str:
    [(kind, value)] = message.items()
    return f"{kind} {json.dumps(value, ensure_ascii=False)}"


def _literal(text: str) -> str:
    """A text in the page's markup. Line ends, and blanks at the end, stand as in the page's examples."""
    shown = text.replace("\r", r"\r").replace("\n", r"\n")
    blanks = len(shown) - len(shown.rstrip(" "))
    return f"``{shown.rstrip(' ')}{blanks * BLANK}``" if text else "empty"


if __name__ == "__main__":
    for section in HEADS:
        print(section, *map("  ".join, rows(section)), sep="\n")
