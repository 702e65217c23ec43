"""All documents are well-formed, and name what is there: files, modules, packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import docutils.nodes as nodes
import pytest

from tests.documents.pages import local_files, parse, section_title

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "tornadio"
ARCHITECTURE = REPOSITORY / "docs" / "architecture.rst"
CONTRIBUTING = REPOSITORY / "CONTRIBUTING.rst"
DOCUMENTS = [
    *sorted(path for path in (REPOSITORY / "docs").rglob("*.rst") if "_build" not in path.parts),
    REPOSITORY / "benchmarks" / "README.rst",
    REPOSITORY / "README.rst",
    CONTRIBUTING,
]
CHANGES = REPOSITORY / "CHANGES.rst"


def document_id(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def first_column(path: Path, section: str) -> Iterator[str]:
    """The texts of the first column of the tables in a section, and in those below it."""
    for row in parse(path).findall(nodes.row):
        above: nodes.Node | None = row
        while above is not None and not (isinstance(above, nodes.section) and section_title(above[0]) == section):
            above = above.parent
        if above is not None:
            yield row[0].astext()


def test_the_page_names_each_module_once_and_none_that_is_not_there():
    files = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    named = list(first_column(ARCHITECTURE, "Packages and modules"))
    assert sorted(named) == sorted(files)


@pytest.mark.parametrize("package", sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()))
def test_a_package_has_its_section(package):
    named = list(first_column(ARCHITECTURE, package))
    assert named == sorted(path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / package).glob("[!_]*.py"))


def test_the_glossary_is_in_the_order_of_the_alphabet():
    terms = [term.astext() for term in parse(ARCHITECTURE).findall(nodes.term) if section_title(term) == "Glossary"]
    assert len(terms) > 30
    assert terms == sorted(terms, key=str.lower)


@pytest.mark.parametrize("path", [*DOCUMENTS, CHANGES], ids=document_id)
def test_a_document_is_well_formed_and_links_to_what_is_there(path):
    missing = {name for name in local_files(path) if not (path.parent / name.partition("#")[0]).exists()}
    assert missing == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_id)
def test_a_document_names_no_file_that_is_not_there(path):
    named = {name for node in parse(path).findall(nodes.literal) for name in re.findall(r"[\w/]+\.py\b", node.astext())}
    roots = [REPOSITORY, PACKAGE, path.parent, *(folder for folder in (REPOSITORY / "examples").iterdir())]
    missing = {name for name in named if not any((root / name).exists() for root in roots)}
    assert missing <= {"examples/NAME/NAME.py"}


def test_contributing_says_where_each_package_is_tested():
    named = set(first_column(CONTRIBUTING, "Where a thing is tested"))
    assert named >= {f"{path.name}/" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    text = CONTRIBUTING.read_text(encoding="utf-8")
    folders = {path.name for path in (REPOSITORY / "tests").iterdir() if any(path.glob("test_*.py"))}
    assert {name for name in folders if f"tests/{name}" not in text} == set()
