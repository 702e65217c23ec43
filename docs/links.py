"""Checks the links of a built site: each page, anchor, image and file that one of its pages names is there.

usage: python docs/links.py DIRECTORY

Links to other sites are the matter of Sphinx' own linkcheck: docs/build.sh --links.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """What a page links to, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value and (name == "id" or (name == "name" and tag == "a")):
                self.anchors.add(value)
            elif value and name in ("href", "src"):
                self.links.append(value)


def find_broken(directory: Path) -> Iterator[str]:
    """A line for each broken link of the pages in a directory, and of those below."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(directory.rglob("*.html"))}
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                yield f"{path.relative_to(directory)}: {link} is not there"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{path.relative_to(directory)}: {link} has no such anchor"


if __name__ == "__main__":
    broken = list(find_broken(Path(sys.argv[1]).resolve()))
    print(*broken, sep="\n", end="\n" if broken else "", file=sys.stderr)
    sys.exit(bool(broken))
