"""The wheel and the sdist hold what a user, and somebody who packages for others, needs."""

from __future__ import annotations

import email
import importlib.machinery
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
import simplejson
import tornado

import compiling
import tornadio

REPOSITORY = Path(__file__).resolve().parents[1]
LEFT_BEHIND = shutil.ignore_patterns(".git", ".*cache", ".hypothesis", ".venv*", "*.egg-info", "build", "dist")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository."""
    source = tmp_path_factory.mktemp("source") / "tornadio"
    shutil.copytree(REPOSITORY, source, ignore=LEFT_BEHIND)
    return source


@pytest.fixture(scope="module")
def archives(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the sdist."""
    archives = tmp_path_factory.mktemp("archives")
    # The wheel is built from the unpacked sdist: what is missing there is missing here.
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(archives), str(source)]
    result = subprocess.run(build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert result.returncode == 0, result.stdout
    return archives


@pytest.fixture(scope="module")
def wheel(archives: Path) -> dict[str, bytes]:
    (path,) = archives.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist(archives: Path) -> set[str]:
    (path,) = archives.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    (name,) = (name for name in wheel if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel[name])


def package_files() -> set[str]:
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "tornadio").rglob("*.py")}
    return modules | {
        "tornadio/py.typed",
        "tornadio/static/monitor.css",
        "tornadio/static/monitor.html",
        "tornadio/static/monitor.js",
        "tornadio/static/socket.io.d.mts",
        "tornadio/static/socket.io.d.ts",
        "tornadio/static/socket.io.js",
    }


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    assert {name for name in wheel if ".dist-info/" not in name} == package_files()


def test_the_wheel_holds_the_license(wheel):
    (name,) = (name for name in wheel if name.endswith("/LICENSE"))
    assert wheel[name] == (REPOSITORY / "LICENSE").read_bytes()


def test_the_wheel_has_the_pytest_plugin_and_the_command_line_as_entry_points(wheel):
    (name,) = (name for name in wheel if name.endswith(".dist-info/entry_points.txt"))
    assert b"[pytest11]\ntornadio = tornadio.pytest_plugin\n" in wheel[name]
    assert b"[console_scripts]\ntornadio = tornadio.cli.program:main\n" in wheel[name]


def test_the_sdist_holds_the_package_tests_examples_and_documents(sdist):
    assert sdist >= package_files()
    for directory in ("examples", "tests"):
        for path in (REPOSITORY / directory).rglob("*.*"):
            if path.suffix in {".cfg", ".conf", ".css", ".html", ".js", ".py", ".service", ".sh", ".svg", ".target"}:
                assert path.relative_to(REPOSITORY).as_posix() in sdist
    pages = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").iterdir()}
    assert sdist >= pages - {"docs/_build"}
    assert not any(name.startswith("docs/_build") for name in sdist)
    assert sdist >= {path.name for path in REPOSITORY.glob("*.rst")}  # those that its tests read, too
    assert sdist >= {"LICENSE", "setup.py", "pyproject.toml", ".ci/run", "tests/run.sh"}
    assert not {name for name in sdist if "__pycache__" in name or name.endswith(".pyc")}


def test_the_metadata_names_the_project_and_its_needs(metadata):
    assert metadata["Name"] == "TornadIO"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    needs = [need for need in metadata.get_all("Requires-Dist") or [] if "extra ==" not in need]
    assert sorted(re.split(r"[^\w-]", need)[0] for need in needs) == ["simplejson", "tornado"]


def test_the_version_is_the_packages_own(metadata):
    assert metadata["Version"] == tornadio.version


def test_setup_tells_the_version_without_an_import_of_the_package():
    program = (
        "import runpy, sys; sys.argv = ['setup.py', '--version']; runpy.run_path('setup.py');"
        "print([name for name in sys.modules if name.startswith('tornad')])"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[-3:-1] == [tornadio.version, "[]"]


def test_the_newest_entry_of_changes_is_the_version(metadata):
    changes = (REPOSITORY / "CHANGES.rst").read_text(encoding="utf-8")
    assert re.findall(r"^\d+\.\d+\.\d+", changes, re.MULTILINE)[0] == metadata["Version"]


def test_the_installed_wheel_works_away_from_the_source(archives, tmp_path):
    (path,) = archives.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "site")
    program = (
        "import tornadio, pathlib; here = pathlib.Path(tornadio.__file__).parent; print(here, tornadio.version);"
        "tornadio.get_router(tornadio.SocketConnection).route()"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == f"{tmp_path / 'site' / 'tornadio'} {tornadio.version}"
    assert result.stderr == ""


# -- Compiled ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the compiled package: tests/run.sh has made it before, and says where."""
    if "COMPILED" in os.environ:
        return Path(os.environ["COMPILED"])
    target = tmp_path_factory.mktemp("compiled")
    install = ("install", "--no-deps", "--no-build-isolation", "--target", str(target), ".")
    command, environment = [sys.executable, "-m", "pip", *install], os.environ | {"TORNADIO_COMPILE": "1"}
    result = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return target


ECHO = """
import asyncio

import tornadio
import tornadio.testing


class Echo(tornadio.SocketConnection):
    async def on_message(self, message):
        self.send(message)


async def main():
    async with tornadio.testing.serve(Echo) as server, server.connect() as client:
        await client.send("hello")
        async for message in client:
            print(tornadio.is_compiled, message)
            break


asyncio.run(main())
"""


@pytest.mark.needs("cc")
def test_the_compiled_package_works_and_needs_no_more_than_the_pure_one(compiled, tmp_path):
    # Without the packages of this environment, among which is what mypyc needs itself.
    for package in (tornado, simplejson):
        (tmp_path / package.__name__).symlink_to(Path(package.__path__[0]))
    result = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", ECHO],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{compiled}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("True hello\n", "")


@pytest.mark.needs("cc")
def test_the_compiled_wheel_is_for_this_platform_and_holds_the_sources_too(compiled):
    files = {path.relative_to(compiled).as_posix() for path in compiled.rglob("*") if path.is_file()}
    assert files >= package_files()
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    assert files >= {f"tornadio/{module}{suffix}" for module in compiling.MODULES}
    (wheel,) = compiled.glob("*.dist-info/WHEEL")
    assert "Root-Is-Purelib: false" in wheel.read_text(encoding="utf-8")


def test_the_pure_wheel_is_for_every_platform(archives):
    (path,) = archives.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")


def test_mypyc_is_needed_for_a_build_that_is_to_compile_alone(source):
    def needs(environment: dict[str, str]) -> str:
        program = "import compiling; print(*compiling.get_requires_for_build_wheel())"
        command = [sys.executable, "-c", program]
        result = subprocess.run(
            command, cwd=source, env=os.environ | environment, capture_output=True, text=True, check=True
        )
        return result.stdout.splitlines()[-1]

    assert "mypy" in needs({"TORNADIO_COMPILE": "1"})
    assert "mypy" not in needs({"TORNADIO_COMPILE": "0"})


def test_a_build_without_a_compiler_says_what_to_install(source, tmp_path):
    pytest.importorskip("mypyc", reason="of the extra lint")
    (tmp_path / "module.c").write_text("", encoding="utf-8")
    program = (
        "import sys, mypyc.build, setuptools, compiling;"
        "mypyc.build.mypycify = lambda *_, **__: [setuptools.Extension('tornadio.module', [sys.argv[1]])];"
        "compiling.build_wheel(sys.argv[2])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "module.c"), str(tmp_path)]
    environment = os.environ | {"TORNADIO_COMPILE": "1", "CC": "no-such-compiler"}
    result = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert re.search("no-such-compiler(?s:.*)apt install gcc python3-dev", result.stderr)


def test_an_editable_install_is_not_compiled(monkeypatch):
    monkeypatch.setenv("TORNADIO_COMPILE", "1")
    with pytest.raises(SystemExit, match="an editable install is the source itself"):
        compiling.get_requires_for_build_editable()
