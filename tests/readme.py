"""README.rst as the tests see it: its code blocks and its tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docutils.core
import docutils.nodes as nodes

README = Path(__file__).resolve().parents[1] / "README.rst"


def parse(path: Path = README) -> nodes.document:
    """The document. Anything that docutils remarks about it, warnings too, is a `SystemMessage` error."""
    settings = {"halt_level": 2, "doctitle_xform": False, "input_encoding": "utf-8", "_disable_config": True}
    return docutils.core.publish_doctree(path.read_bytes(), settings_overrides=settings)


def code_blocks(language: str, path: Path = README) -> dict[tuple[str, int], str]:
    """All blocks in this language, each under its section's title and its number there."""
    blocks: dict[tuple[str, int], str] = {}
    for block in parse(path).findall(nodes.literal_block):
        if language in block["classes"]:
            section = section_title(block)
            number = sum(title == section for title, _ in blocks)
            blocks[section, number] = block.astext() + "\n"
    return blocks


def table_rows(section: str) -> Iterator[list[str]]:
    """The texts of the rows, without their heads, of all tables in the section."""
    for row in parse().findall(nodes.row):
        if section_title(row) == section and isinstance(row.parent, nodes.tbody):
            yield [entry.astext() for entry in row.findall(nodes.entry)]


def local_files(path: Path = README) -> set[str]:
    """What the document links to, or shows, that is a file beside it."""
    document = parse(path)
    targets = {node["refuri"] for node in document.findall(nodes.reference) if "refuri" in node}
    targets |= {image["uri"] for image in document.findall(nodes.image)}
    return {target for target in targets if "://" not in target}


def section_title(node: nodes.Node) -> str:
    while not isinstance(node, nodes.section):
        node = node.parent
    return node[0].astext()


def on_given_port(program: str) -> str:
    """The program, but listening on the port that its argument ``--port=N`` names."""
    assert "socket_io_port=8001" in program
    return "import sys\n" + program.replace("socket_io_port=8001", "socket_io_port=int(sys.argv[1][len('--port='):])")
