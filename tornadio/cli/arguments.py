"""The arguments of the command line, and what they are for :func:`tornadio.connect`."""

import argparse
import re
import ssl
from collections.abc import Callable
from typing import Any, Final

import tornadio
from tornadio import proto
from tornadio.errors import SettingsError

# What errors of tornadio.connect tell a program to say, and what somebody at a terminal says instead.
_ARGUMENTS: Final = (
    (re.compile(r"first_frame='message'"), "--first-frame message"),
    (re.compile(r"transports=\['([a-z-]+)'\]"), r"--transport \1"),
    (re.compile(re.escape("ssl=ssl.create_default_context(cafile=FILE)")), "--ca-file FILE"),
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the program's arguments."""
    parser = argparse.ArgumentParser(
        prog="tornadio",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Talk to a Socket.IO 0.6 server. Each line of standard input is a message; frames are printed as\n"
        "TIME < TEXT when they come in, and as TIME > TEXT when they go out.",
        epilog="exit status:\n"
        "  0  it ended as it should: the count is reached, the input is sent, the time is over, or the\n"
        "     server has closed\n"
        "  1  the connection broke, was closed with an error, or ended before the count\n"
        "  2  an argument, or a line of the input, is wrong\n"
        "  3  no connection: refused, nobody there, or not before the end of --timeout\n"
        "  4  --timeout is over before the count\n"
        "  130, 141  interrupted (Ctrl-C); nobody reads the output any more",
    )
    parser.add_argument("url", metavar="URL", help="ws, wss, http or https, with the resource: http://HOST/socket.io")
    add = parser.add_argument
    add("--transport", action="append", metavar="NAME", help="a transport to try; repeatable, in their order")
    add("--json", choices=["marked", "plain"], default="marked", help="JSON with ~j~ before it (default), or bare")
    add("--origin", metavar="ORIGIN", help="the page's, as a browser would send it: https://www.example.com")
    add(
        "--header",
        action="append",
        type=_pair(":"),
        metavar="'NAME: VALUE'",
        help="a header of the requests; repeatable",
    )
    add("--cookie", action="append", type=_pair("="), metavar="NAME=VALUE", help="send this cookie; repeatable")
    add("--extra", default="", metavar="TEXT", help="what stands between resource and transport, /123 for example")
    add("--proxy", metavar="URL", help="http://USER:PASSWORD@HOST:PORT, asked to CONNECT")
    add("--ca-file", metavar="FILE", help="trust these certificates (PEM), a server's self-signed one for example")
    add("--compression", action="store_true", help="offer permessage-deflate")
    add(
        "--first-frame",
        choices=["session_id", "message"],
        default="session_id",
        help="what the server's first frame is",
    )
    add("--send", action="append", metavar="TEXT", help="send this instead of the input; repeatable")
    add("--count", type=_positive(int), metavar="N", help="end when N messages have come in")
    add("--timeout", type=_positive(float), metavar="SECONDS", help="end after this time")
    add("--raw", action="store_true", help="send and print payloads as they are, ~m~5~m~hello: see docs/client.rst")
    add("--version", action="version", version=f"tornadio {tornadio.version}")
    return parser


def _pair(separator: str) -> Callable[[str], tuple[str, str]]:
    """Return a type of argparse: two texts with a separator between them."""

    def parse(text: str) -> tuple[str, str]:
        name, found, value = text.partition(separator)
        if not found or not name.strip():
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME{separator}VALUE")
        return name.strip(), value.strip()

    return parse


def _positive(number: Callable[[str], float]) -> Callable[[str], float]:
    """Return a type of argparse: a number above zero."""

    def parse(text: str) -> float:
        try:
            value = number(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' * (number is int)}number above zero")
        return value

    return parse


def connect_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of :func:`tornadio.connect` that those of the program say.

    :raises SettingsError: the file of certificates can't be read.
    """
    options: dict[str, Any] = {
        "json": arguments.json,
        "origin": arguments.origin,
        "extra": arguments.extra,
        "proxy": arguments.proxy,
        "first_frame": arguments.first_frame,
    }
    if arguments.transport:
        options["transports"] = arguments.transport
    elif arguments.first_frame == "message":
        options["transports"] = ["websocket"]  # the only one without a session id
    if arguments.header:
        options["headers"] = arguments.header
    if arguments.cookie:
        options["cookies"] = dict(arguments.cookie)
    if arguments.compression:
        options["compression"] = True
    if arguments.ca_file:
        try:
            options["ssl"] = ssl.create_default_context(cafile=arguments.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(f"--ca-file={arguments.ca_file}: {error}") from None
    return options


def in_terms_of_arguments(error: str) -> str:
    """Return the text of an error of :func:`tornadio.connect`, with the program's arguments in place of options."""
    for option, argument in _ARGUMENTS:
        error = option.sub(argument, error)
    return error


def message_of(line: str, json: proto.JSONFormat) -> Any:
    """Return the message that a typed line is: a JSON object or array where it is one, else the text.

    With ``json="plain"`` it is the text in any case, which is the same on the wire.
    """
    if json == "plain":
        return line
    [(_, value)] = proto.decode(proto.encode(line), json="plain")
    return tuple(value) if isinstance(value, list) else value  # a list would be several messages
