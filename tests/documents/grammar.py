"""ABNF (RFC 5234), as much of it as docs/protocol.rst uses, made into regular expressions."""

from __future__ import annotations

import re
from typing import Final

_RULE: Final = re.compile(r"([A-Za-z][\w-]*)\s*=\s*(.*)", re.DOTALL)
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<repeat>[0-9]*\*[0-9]*|[0-9]+)(?=[\[(\"%A-Za-z])|\"(?P<text>[^\"]*)\"|%x(?P<codes>[0-9A-F-]+)"
    r"|(?P<name>[A-Za-z][\w-]*)|(?P<mark>[\[\]()/]))"
)


class Grammar:
    """The rules of a block."""

    def __init__(self, block: str) -> None:
        self._rules: dict[str, str] = {}
        for rule in re.split(r"\n(?=\S)", block.strip()):
            found = _RULE.fullmatch(rule.strip())
            assert found, f"no rule: {rule!r}"
            assert found[1] not in self._rules, found[1]
            self._rules[found[1]] = found[2]

    @property
    def names(self) -> set[str]:
        return set(self._rules)

    def matches(self, name: str, text: str) -> bool:
        """Whether the text is what a rule says."""
        return re.fullmatch(self.pattern(name), text, re.DOTALL) is not None

    def pattern(self, name: str) -> str:
        """The regular expression of a rule, without recursion."""
        tokens = self._tokens(self._rules[name])
        pattern = self._alternatives(tokens)
        assert not tokens, f"{name}: {tokens[0]}"
        return pattern

    @staticmethod
    def _tokens(text: str) -> list[tuple[str, str]]:
        tokens, position = [], 0
        while position < len(text.rstrip()):
            found = _TOKEN.match(text, position)
            assert found, f"no ABNF: {text[position:]!r}"
            assert found.lastgroup
            tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        return tokens

    def _alternatives(self, tokens: list[tuple[str, str]]) -> str:
        alternatives = [self._sequence(tokens)]
        while tokens and tokens[0] == ("mark", "/"):
            tokens.pop(0)
            alternatives.append(self._sequence(tokens))
        return f"(?:{'|'.join(alternatives)})"

    def _sequence(self, tokens: list[tuple[str, str]]) -> str:
        pattern = ""
        while tokens and tokens[0] not in (("mark", "/"), ("mark", ")"), ("mark", "]")):
            pattern += self._element(tokens)
        return pattern

    def _element(self, tokens: list[tuple[str, str]]) -> str:
        kind, value = tokens.pop(0)
        if kind == "repeat":
            least, star, most = value.partition("*")
            return self._element(tokens) + (f"{{{least or 0},{most}}}" if star else f"{{{value}}}")
        if kind == "text":
            return f"(?:{re.escape(value)})"
        if kind == "codes":
            first, _, last = value.partition("-")
            return f"[{_character(first)}-{_character(last or first)}]"
        if kind == "name":
            return self.pattern(value)
        inner = self._alternatives(tokens)
        closing = tokens.pop(0)
        assert closing == ("mark", {"(": ")", "[": "]"}[value]), closing
        return inner + ("?" if value == "[" else "")


def _character(code: str) -> str:
    return f"\\U{int(code, 16):08x}"
