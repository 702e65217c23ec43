"""A page of documentation as its tests see it: its code blocks, its tables, what it links to.

The pages are read by docutils, with as much of Sphinx as it takes to find blocks and texts; what Sphinx makes of them
is the matter of docs/build.sh.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import docutils.core
import docutils.nodes as nodes
import pytest
from docutils.parsers.rst import Directive, directives, roles

REPOSITORY: Final = Path(__file__).resolve().parents[2]
README: Final = REPOSITORY / "README.rst"

# A section's title, and a block's number among those in its language there.
Place = tuple[str, int]


class Page:
    """A page, and the blocks that tests name: those with a language that it has, and the files that it includes.

    :param name: the file, from the repository's root.
    """

    named: Final[dict[str, set[tuple[str, Place]]]] = {}  #: by the page's name, for all modules that have made one
    files: Final[dict[str, set[Path]]] = {}  #: which included files tests name, likewise

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = REPOSITORY / name
        self._named = self.named.setdefault(name, set())
        self._files = self.files.setdefault(name, set())
        self._blocks = read_blocks(self.path)

    def blocks(self, language: str = "python") -> dict[Place, str]:
        """All blocks in a language. They are not named by that."""
        return {place: block.astext() + "\n" for (other, place), block in self._blocks.items() if other == language}

    def code(self, section: str, *numbers: int, language: str = "python") -> str:
        """The text of blocks of a section, one after the other, without a number of the first; they are named by that.

        :raises KeyError: there is no such block.
        """
        keys = [(language, (section, number)) for number in numbers or (0,)]
        self._named.update(keys)
        return "\n".join(self._blocks[key].astext() + "\n" for key in keys)

    def runs(self, section: str, *numbers: int, language: str = "python") -> pytest.MarkDecorator:
        """Give the test these blocks as its argument ``code``."""
        return pytest.mark.parametrize("code", [self.code(section, *numbers, language=language)], ids=[section])

    def file(self, name: str) -> Path:
        """A file that the page includes, as `literalinclude`; it is named by that.

        :param name: from the repository's root.
        :raises KeyError: the page does not include it.
        """
        path = REPOSITORY / name
        if path not in self.included_files():
            raise KeyError(f"{self.name} does not include {name}")
        self._files.add(path)
        return path

    def included_files(self) -> set[Path]:
        return {Path(block["source_file"]) for block in self._blocks.values() if "source_file" in block}

    def untested(self) -> list[str]:
        """The blocks that no module has named, as a reader finds them."""
        named, files = self.named[self.name], {str(path) for path in self.files[self.name]}
        return [
            f"{section!r}, {language} block {number}"
            for key, block in self._blocks.items()
            if key not in named and block.get("source_file") not in files
            for language, (section, number) in [key]
        ]


def read_blocks(path: Path) -> dict[tuple[str, Place], nodes.Element]:
    """All blocks, each under its language, its section's title and its number there."""
    blocks: dict[tuple[str, Place], nodes.Element] = {}
    for block in parse(path).findall(_is_block):
        assert isinstance(block, nodes.Element)
        language = ([name for name in block["classes"] if name != "code"] or ["text"])[0]
        section = section_title(block)
        number = sum(other == language and place[0] == section for other, place in blocks)
        blocks[language, (section, number)] = block
    return blocks


def _is_block(node: nodes.Node) -> bool:
    return isinstance(node, nodes.literal_block | nodes.doctest_block)


def parse(path: Path = README) -> nodes.document:
    """The document. Anything that docutils remarks about it, warnings too, is a `SystemMessage` error."""
    settings = {"halt_level": 2, "doctitle_xform": False, "input_encoding": "utf-8", "_disable_config": True}
    return docutils.core.publish_doctree(path.read_bytes(), source_path=str(path), settings_overrides=settings)


def table_rows(section: str, path: Path = README) -> Iterator[list[str]]:
    """The texts of the rows, without their heads, of all tables in the section."""
    for row in parse(path).findall(nodes.row):
        if section_title(row) == section and isinstance(row.parent, nodes.tbody):
            yield [entry.astext() for entry in row.findall(nodes.entry)]


def local_files(path: Path = README) -> set[str]:
    """What the document links to, shows, or offers for download, that is a file beside it."""
    document = parse(path)
    targets = {node["refuri"] for node in document.findall(nodes.reference) if "refuri" in node}
    targets |= {image["uri"] for image in document.findall(nodes.image)}
    return {target for target in targets if "://" not in target and not target.startswith("mailto:")}


def section_title(node: nodes.Node) -> str:
    """The title of the innermost section around a node; the page's name for what stands before the first."""
    while not isinstance(node, nodes.section):
        node = node.parent
        if isinstance(node, nodes.document):
            return Path(node["source"]).name
    return node[0].astext()


def on_given_port(program: str) -> str:
    """The program, but listening on the port that its argument ``--port=N`` names."""
    assert "socket_io_port=8001" in program
    return "import sys\n" + program.replace("socket_io_port=8001", "socket_io_port=int(sys.argv[1][len('--port='):])")


# -- Sphinx's markup, for docutils -------------------------------------------------------------------------------------


class _CodeBlock(Directive):
    """`code-block`, in a language, with the options of Sphinx."""

    has_content = True
    required_arguments = 1
    option_spec = {
        "caption": directives.unchanged,
        "class": directives.class_option,
        "emphasize-lines": directives.unchanged,
        "lineno-start": directives.nonnegative_int,
        "linenos": directives.flag,
        "name": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        return [nodes.literal_block(text, text, classes=["code", self.arguments[0]])]


class _LiteralInclude(Directive):
    """`literalinclude`, of a file or of lines of it, cut by Sphinx' own reader."""

    required_arguments = 1
    final_argument_whitespace = True

    # What the reader knows, and what is for the eye alone.
    option_spec = {
        **dict.fromkeys(("lines", "start-after", "start-at", "end-before", "end-at", "pyobject"), directives.unchanged),
        **dict.fromkeys(("language", "caption", "name", "emphasize-lines", "diff"), directives.unchanged),
        **dict.fromkeys(("linenos", "lineno-match"), directives.flag),
        "dedent": directives.nonnegative_int,
        "class": directives.class_option,
    }

    def run(self) -> list[nodes.Node]:
        from sphinx.config import Config
        from sphinx.directives.code import LiteralIncludeReader

        folder = Path(self.state.document["source"]).parent
        path = (folder / self.arguments[0]).resolve()
        if "diff" in self.options:
            self.options["diff"] = str(folder / self.options["diff"])
        text, _ = LiteralIncludeReader(str(path), self.options, Config()).read()
        language = self.options.get("language", "text")
        return [nodes.literal_block(text, text.rstrip("\n"), classes=["code", language], source_file=str(path))]


class _Around(Directive):
    """A directive whose content is text of the page: `seealso`, `versionadded`, `glossary` ..."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec = {"sorted": directives.flag, "class": directives.class_option}

    def run(self) -> list[nodes.Node]:
        around = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, around)
        return [around]


class _Nothing(_Around):
    """A directive without text of the page's own: a tree of contents, names for the index, docstrings."""

    class _AnyOption(dict[str, Callable[[str], Any]]):
        def __missing__(self, key: str) -> Callable[[str], Any]:
            return directives.unchanged

    option_spec = _AnyOption()

    def run(self) -> list[nodes.Node]:
        return []


def _code_role(name: str, rawtext: str, text: str, *_arguments: Any) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """A reference to a name of a program: its text, in the type of code."""
    shown = re.sub(r"\s*<[^<>]+>$", "", text).lstrip("!")
    if shown.startswith("~"):
        shown = shown.rpartition(".")[2]
    return [nodes.literal(rawtext, shown)], []


def _text_role(name: str, rawtext: str, text: str, *_arguments: Any) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """A reference to a page, a section, a term: its text."""
    return [nodes.inline(rawtext, re.sub(r"\s*<[^<>]+>$", "", text))], []


def _download_role(name: str, rawtext: str, text: str, *_arguments: Any) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """A file that is part of the site: a link to it."""
    named = re.fullmatch(r"(.*?)\s*<([^<>]+)>", text, re.DOTALL)
    shown, target = named.groups() if named else (text, text)
    return [nodes.reference(rawtext, shown, refuri=target)], []


_register_role: Callable[[str, Any], None] = roles.register_local_role  # whose type says that roles are links
directives.register_directive("code-block", _CodeBlock)
directives.register_directive("literalinclude", _LiteralInclude)
for _name in ("seealso", "versionadded", "versionchanged", "deprecated", "only", "glossary", "centered", "hlist"):
    directives.register_directive(_name, _Around)
for _name in ("toctree", "currentmodule", "module", "program", "option", "envvar", "index", "highlight"):
    directives.register_directive(_name, _Nothing)
for _name in ("module", "class", "exception", "function", "method", "attribute", "data", "decorator"):
    directives.register_directive(f"py:{_name}", _Nothing)
    if _name != "class":  # docutils has one of that name
        directives.register_directive(_name, _Nothing)
    directives.register_directive(f"auto{_name}", _Nothing)
for _name in ("attr", "class", "const", "data", "deco", "exc", "func", "meth", "mod", "obj"):
    _register_role(_name, _code_role)
    _register_role(f"py:{_name}", _code_role)
for _name in ("command", "envvar", "file", "kbd", "option", "program", "samp"):
    _register_role(_name, _code_role)
for _name in ("abbr", "any", "doc", "guilabel", "menuselection", "numref", "ref", "term"):
    _register_role(_name, _text_role)
_register_role("download", _download_role)
