import ast
import re
from pathlib import Path

from setuptools import find_packages, setup

import compiling

HERE = Path(__file__).resolve().parent
README = (HERE / "README.rst").read_text(encoding="utf-8")


def read_version() -> str:
    """Return ``tornadio.version``. Imports nothing: what the package needs is not installed before it is."""
    module = (HERE / "tornadio" / "__init__.py").read_text(encoding="utf-8")
    numbers = re.search(r"^__version__: .* = (\(.*\))$", module, re.MULTILINE)
    assert numbers is not None
    return ".".join(map(str, ast.literal_eval(numbers[1])))


setup(
    name="TornadIO",
    version=read_version(),
    description="Socket.IO 0.6 server and client on top of the Tornado framework",
    long_description=README,
    long_description_content_type="text/x-rst",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["socket.io", "tornado", "websocket", "long polling", "comet"],
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Internet :: WWW/HTTP :: HTTP Servers",
        "Topic :: Software Development :: Libraries :: Python Modules",
        "Typing :: Typed",
    ],
    ext_modules=compiling.extensions,
    packages=find_packages(include=["tornadio", "tornadio.*"]),
    package_data={"tornadio": ["py.typed", "static/*"]},
    entry_points={
        "console_scripts": ["tornadio = tornadio.cli.program:main"],
        "pytest11": ["tornadio = tornadio.pytest_plugin"],
    },
    python_requires=">=3.11",
    # tests/run.sh tests these lowest versions, too.
    install_requires=[
        "tornado>=6.5.5",  # older ones have known holes
        "simplejson>=3.19.1",  # the first whose decoder can refuse NaN and whose wheels run on Python 3.11
    ],
    extras_require={
        "redis": [
            "redis>=5.0.1",  # the first whose asyncio connections all close by aclose(), without a warning left behind
        ],
        "metrics": [
            "prometheus_client>=0.20",  # Prometheus' own library writes its formats: MetricsHandler
        ],
        "speedups": [
            "websockets>=10.4",  # its C code unmasks large messages sooner; the first with wheels for Python 3.11
        ],
        "tests": [
            "TornadIO[docs,metrics,redis]",  # the site, MetricsHandler, the setting bus
            "aiohttp",  # a WebSocket client that is not ours
            "coverage>=7.10",  # of programs that tests start, too
            "build",  # the tests build the wheel and the sdist,
            "setuptools>=77",  # without downloading anything
            "h11",  # another reader of HTTP: the fast path's parser is held against it
            "django",  # an application of Django, which pages of the site serve beside TornadIO
            "docutils",  # reads README.rst and the site's pages, the blocks of which are tested
            "flask",  # an application of Flask, as Django's
            "httpx",  # an HTTP client that is not ours
            "hypothesis",  # round trips of the codec and the framings
            "nats-py",  # a bus over NATS, of a page of the site
            "playwright==1.60.0",  # drives Chromium and Firefox, of which later ones start no Firefox of Debian's
            "pytest>=9",
            "selenium",  # drives WebKit
            "pyyaml",  # reads the compose file of a page of the site
            "pytest-asyncio>=1.4",  # tests on an event loop, or on one whose time they move
            "python-socketio>=5.14",  # Socket.IO 4, to which a page of the site moves an application
            "trustme",  # certificates for the tests of TLS
            "websocket-client",  # the benchmark of clients runs it,
            "websockets",  # another WebSocket client,
            "wsproto",  # and one more
        ],
        "docs": [
            "TornadIO[metrics,redis]",  # the reference imports all that it describes,
            "pytest",  # the fixtures, too
            "sphinx>=8.2",  # the site of documentation: docs/build.sh
            "furo",  # its theme, for phones and in the dark, too
            "sphinx-copybutton",  # blocks of code, without prompts
        ],
        "fuzz": [
            "atheris",  # has wheels for Linux on x86-64 alone: tests/fuzz/fuzz_protocol.py
        ],
        "lint": [
            "mypy",
            "ruff",
            "types-docutils",
            "types-simplejson",
        ],
    },
)
