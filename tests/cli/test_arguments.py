"""The arguments of the command line: what they are for `tornadio.connect`, and what is said of wrong ones."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trustme

import tornadio
from tornadio import proto
from tornadio.cli.arguments import connect_options, make_parser, message_of

URL = "http://localhost:8001/socket.io"
DEFAULTS = {"json": "marked", "origin": None, "extra": "", "proxy": None, "first_frame": "session_id"}


def options_of(*arguments: str) -> dict[str, Any]:
    return connect_options(make_parser().parse_args([URL, *arguments]))


def test_nothing_asked_for():
    assert options_of() == DEFAULTS


@pytest.mark.parametrize(
    ("arguments", "options"),
    {
        ("--transport=htmlfile", "--transport", "websocket"): {"transports": ["htmlfile", "websocket"]},
        ("--json=plain", "--origin=http://www.example.com"): {"json": "plain", "origin": "http://www.example.com"},
        ("--header=X-One: 1: 2", "--header", "X-Two:3"): {"headers": [("X-One", "1: 2"), ("X-Two", "3")]},
        ("--cookie=a=1==", "--cookie=b="): {"cookies": {"a": "1==", "b": ""}},
        ("--extra=/123", "--proxy=http://p:1"): {"extra": "/123", "proxy": "http://p:1"},
        ("--first-frame=message",): {"first_frame": "message", "transports": ["websocket"]},
        ("--compression",): {"compression": True},
    }.items(),
    ids=str,
)
def test_options(arguments, options):
    assert options_of(*arguments) == DEFAULTS | options


def test_certificates_to_trust(tmp_path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    context = options_of("--ca-file", str(tmp_path / "ca.pem"))["ssl"]
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_an_error_that_names_it(tmp_path, content):
    if content:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(tornadio.SettingsError, match=r"--ca-file=.*/ca\.pem: "):
        options_of("--ca-file", str(tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    {
        (): "the following arguments are required: URL",
        (URL, "--cuont=1"): "unrecognized arguments: --cuont=1",
        (URL, "--coun=1"): "unrecognized arguments: --coun=1",
        (URL, "--count=0"): "--count: '0' is no whole number above zero",
        (URL, "--count=1.5"): "--count: '1.5' is no whole number above zero",
        (URL, "--timeout=nan"): "--timeout: 'nan' is no number above zero",
        (URL, "--timeout=soon"): "--timeout: 'soon' is no number above zero",
        (URL, "--header=nonsense"): "--header: 'nonsense' is not NAME:VALUE",
        (URL, "--cookie==1"): "--cookie: '=1' is not NAME=VALUE",
    }.items(),
    ids=str,
)
def test_wrong_arguments(arguments, words, capsys):
    with pytest.raises(SystemExit) as exit_:
        make_parser().parse_args(arguments)
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err.replace("argument ", "", 1)


@pytest.mark.parametrize(
    ("line", "frame"),
    {
        "": "~m~0~m~",
        "hello": "~m~5~m~hello",
        '{"a": 1}': '~m~11~m~~j~{"a": 1}',
        ' {"a":"é😀"} ': '~m~30~m~~j~{"a": "\\u00e9\\ud83d\\ude00"}',
        "[1, [2]]": "~m~11~m~~j~[1, [2]]",
        "{not JSON}": "~m~10~m~{not JSON}",
        "5": "~m~1~m~5",
        "null": "~m~4~m~null",
        '"text"': '~m~6~m~"text"',
        "~j~5": '~m~9~m~~j~"~j~5"',
        "~h~1": '~m~9~m~~j~"~h~1"',
    }.items(),
)
def test_a_line_that_is_an_object_or_array_is_json_and_any_other_a_text(line, frame):
    assert proto.encode(message_of(line, "marked")) == frame


@pytest.mark.parametrize("line", ['{"a":1.10}', "[1,2]", "text", "~h~1"])
def test_plain_json_is_the_text_as_it_was_typed(line):
    assert message_of(line, "plain") == line
