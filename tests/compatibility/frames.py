"""Frames as a client makes them, without the library: its mistakes would be made on both sides."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.texts import frame

HEADER = re.compile("~m~([0-9]+)~m~")


def encode(*messages: Any) -> str:
    """A batch of messages. Text that would be taken for JSON or a heartbeat goes as JSON."""
    return "".join(frame(message if is_plain(message) else "~j~" + json.dumps(message)) for message in messages)


def is_plain(message: Any) -> bool:
    return isinstance(message, str) and not message.startswith(("~j~", "~h~"))


def decode(payload: str) -> list[Any]:
    """The messages of a batch. A heartbeat stays `~h~N`."""
    messages = []
    while payload:
        header = HEADER.match(payload)
        assert header, payload
        units = payload[header.end() :].encode("utf-16-le")
        end = 2 * int(header[1])
        assert end <= len(units), payload
        text, payload = units[:end].decode("utf-16-le"), units[end:].decode("utf-16-le")
        messages.append(json.loads(text[3:]) if text.startswith("~j~") else text)
    return messages
