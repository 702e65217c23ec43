"""Whether the modules on a message's or request's way are compiled, that all are or none, and that they may be."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

import pytest

import compiling
import tornadio

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_package_says_whether_it_is_compiled():
    assert tornadio.is_compiled is compiling.is_wanted()


@pytest.mark.parametrize("module", compiling.MODULES)
def test_all_modules_are_compiled_or_none(module):
    spec = importlib.import_module("tornadio." + module.replace("/", ".")).__spec__
    assert spec is not None
    assert isinstance(spec.loader, ExtensionFileLoader) is compiling.is_wanted()


@pytest.mark.external
def test_no_attribute_that_a_call_may_have_changed_is_asked_what_mypy_thinks_to_know():
    pytest.importorskip("mypy", reason="of the extra lint")
    command = [sys.executable, "-m", "tests.narrowing"]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("", "")
