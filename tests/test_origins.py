"""Who may connect: one rule, row by row."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import brief
from tornadio.errors import SettingsError
from tornadio.origins import OriginRule, cors_headers, flash_policy, host_of, parse_origin

HOST = "good.com:8001"
LISTED = ["good.com:8001", "pages.example:*", "https://secure.example", "*:8080", "[::1]:80"]


# -- Pages of the requested host, the default ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://good.com:8001", HOST, True),  # same
        ("http://good.com", HOST, True),  # other port
        ("https://good.com", HOST, True),
        ("http://good.com:1", HOST, True),
        ("http://good.com", "good.com", True),
        ("HTTP://GOOD.COM", HOST, True),
        ("http://good.com", "Good.Com:8001", True),
        ("http://127.0.0.1:80", "127.0.0.1:8001", True),
        ("http://[::1]:80", "[::1]:8001", True),
        ("http://[::1]", "[::1]", True),
        (None, HOST, True),  # no browser's cross-site call
        ("http://evil.com", HOST, False),
        ("http://evil.com:8001", HOST, False),
        ("http://good.com.evil.com", HOST, False),
        ("http://good.com.evil.com:8001", HOST, False),
        ("http://evilgood.com", HOST, False),
        ("http://www.good.com", HOST, False),
        ("http://good.co", HOST, False),
        ("http://com", HOST, False),
        ("http://good.com@evil.com", HOST, False),
        ("http://evil.com@good.com", HOST, False),
        ("http://good.com:80@evil.com", HOST, False),
        ("http://good.com#@evil.com:x", HOST, True),  # what stands behind # is no host
        ("http://evil.com#@good.com", HOST, False),
        ("http://evil.com/good.com", HOST, False),
        ("http://evil.com?good.com", HOST, False),
        ("http://evil.com\\good.com", HOST, False),
        ("http://evil.com\\@good.com", HOST, False),
        ("http://good.com\\.evil.com", HOST, False),
        ("http://good.com:", HOST, False),
        ("http://good.com:port", HOST, False),
        ("http://good.com:99999", HOST, False),
        ("http://[::2]", "[::1]:8001", False),
        ("http://[::1", "[::1", False),
        ("good.com", HOST, False),
        ("//good.com", HOST, False),
        ("file://", HOST, False),
        ("file://good.com", HOST, False),
        ("chrome-extension://good.com", HOST, False),
        ("null", HOST, False),
        ("null", "null", False),
        ("", HOST, False),
        ("", "", False),
        ("http://", "", False),
        ("http://evil.com", "evil.com@good.com", False),
        ("http://evil.com", "", False),
    ],
)
def test_by_default_the_page_comes_from_the_requested_host(origin, host, allowed):
    assert OriginRule(None).allows(origin, host) is allowed


# -- A list -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://good.com:8001", True),
        ("https://good.com:8001", True),
        ("http://GOOD.com:8001", True),
        ("http://good.com", False),
        ("http://pages.example", True),
        ("https://pages.example", True),
        ("http://pages.example:4711", True),
        ("https://secure.example", True),
        ("https://secure.example:443", True),
        ("https://secure.example:444", False),
        ("http://secure.example", False),
        ("http://secure.example:443", False),
        ("http://anybody.example:8080", True),
        ("http://anybody.example", False),
        ("http://[::1]", True),
        ("http://[::1]:81", False),
        ("http://pages.example.evil.com", False),
        ("http://pages.example@evil.com", False),
        ("http://sub.pages.example", False),
        ("null", False),
        ("file://", False),
        (None, True),
    ],
)
def test_a_list_is_all_there_is(origin, allowed):
    assert OriginRule(LISTED).allows(origin, "good.com:1234") is allowed


def test_the_requested_host_does_not_matter_to_a_list():
    assert not OriginRule(["pages.example:*"]).allows("http://good.com:8001", HOST)


def test_an_empty_list_lets_no_page_in():
    rule = OriginRule([])
    assert not rule.allows("http://good.com:8001", HOST)
    assert rule.allows(None, HOST)


@pytest.mark.parametrize("origin", ["http://evil.com", "null", "file://", "chrome-extension://abc", "", None])
def test_the_widest_entry_lets_everybody_in(origin):
    assert OriginRule(["good.com:80", "*:*"]).allows(origin, HOST)


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("Good.COM:80", "http://good.com"),
        ("HTTPS://Good.COM", "https://good.com"),
        ("https://good.com/", "https://good.com"),
        ("https://good.com:8443", "https://good.com:8443"),
        ("http://[::1]:81", "http://[::1]:81"),
        ("my_host:*", "http://my_host"),
        ("xn--bcher-kva.example:80", "http://xn--bcher-kva.example"),
    ],
)
def test_an_entry_is_a_host_and_a_port_or_an_origin(entry, origin):
    assert OriginRule([entry]).allows(origin, HOST)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "good.com",
        "good.com:",
        ":80",
        "good.com:0",
        "good.com:65536",
        "good.com:-1",
        "good.com:http",
        "good.com:8*",
        "good.com:\u0661",
        "*.good.com:80",
        "user@good.com:80",
        "good.com :80",
        " good.com:80",
        "good.com:80\n",
        "::1:80",
        "null",
        "//good.com",
        "http://",
        "https://good.com:",
        "https://good.com/path",
        "https://good.com?",
        "https://good.com#",
        "https://user@good.com",
        "https://*.good.com",
        "https://good.com:*",
        "ftp://good.com",
        1,
        None,
        b"good.com:80",
    ],
    ids=brief,
)
def test_any_other_entry_is_the_callers_error(entry):
    with pytest.raises(SettingsError, match=re.escape(f"origins: {entry!r} is no origin: write 'host:port'")):
        OriginRule([entry])


# -- JSONP ------------------------------------------------------------------------------------------------------------

GOOD, EVIL = "http://good.com/page?a=b#c", "http://evil.com/http://good.com/"


@pytest.mark.parametrize(
    ("origin", "site", "referer", "allowed"),
    [
        (None, None, None, True),  # old browsers, programs
        (None, "same-origin", None, True),
        (None, "none", None, True),
        (None, "same-origin", EVIL, True),  # the browser knows better than the header
        (None, "same-site", None, False),
        (None, "cross-site", None, False),
        (None, "", None, False),
        (None, "SAME-ORIGIN", None, False),
        (None, None, GOOD, True),
        (None, "same-site", GOOD, True),
        (None, "cross-site", GOOD, True),
        (None, None, EVIL, False),
        (None, "same-site", EVIL, False),
        (None, "cross-site", EVIL, False),
        (None, None, "", False),
        (None, None, "about:blank", False),
        (None, None, "http://good.com@evil.com/", False),
        (None, None, "http://good.com.evil.com/", False),
        ("http://good.com", None, None, True),
        ("http://good.com", "cross-site", EVIL, True),
        ("http://evil.com", None, None, False),
        ("http://evil.com", "same-origin", GOOD, False),
        ("null", None, GOOD, False),
    ],
)
def test_a_script_shows_where_it_comes_from(origin, site, referer, allowed):
    given = {"Origin": origin, "Sec-Fetch-Site": site, "Referer": referer}
    headers = {name: value for name, value in given.items() if value is not None}
    assert OriginRule(None).allows_script(headers, HOST) is allowed
    # The same rule, written as a list.
    assert OriginRule(["good.com:*"]).allows_script(headers, "other.com") is allowed
    assert OriginRule(["*:*"]).allows_script(headers, HOST)


# -- Headers ----------------------------------------------------------------------------------------------------------


def test_cors_headers_name_the_one_origin():
    assert cors_headers("http://good.com") == {
        "Access-Control-Allow-Origin": "http://good.com",
        "Access-Control-Allow-Credentials": "true",
    }


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://good.com", ("http", "good.com", 80)),
        ("https://good.com", ("https", "good.com", 443)),
        ("ws://good.com", ("ws", "good.com", 80)),
        ("wss://good.com/path", ("wss", "good.com", 443)),
        ("HTTP://Good.COM:8001/path", ("http", "good.com", 8001)),
        ("http://[2001:DB8::1]:80", ("http", "2001:db8::1", 80)),
        ("null", None),
    ],
)
def test_an_origin_is_scheme_host_and_port(text, origin):
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("good.com", "good.com"),
        ("Good.COM:8001", "good.com"),
        ("[::1]:8001", "::1"),
        ("[::1]", "::1"),
        ("good.com@evil.com", ""),
        ("[::1", ""),
        (":8001", ""),
        ("", ""),
    ],
)
def test_a_host_is_without_its_port(header, host):
    assert host_of(header) == host


# -- The Flash policy -------------------------------------------------------------------------------------------------


def domains(policy: bytes) -> list[tuple[str | None, str | None]]:
    root = ElementTree.fromstring(policy)
    assert root.tag == "cross-domain-policy"
    assert {child.tag for child in root} <= {"allow-access-from"}
    return [(child.get("domain"), child.get("to-ports")) for child in root]


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        (None, ["*"]),
        ([], []),
        (["*:*"], ["*"]),
        (["*:80"], ["*"]),
        (["a.com:80", "a.com:81", "https://b.com"], ["a.com", "b.com"]),
        (LISTED, ["good.com", "pages.example", "secure.example", "*", "::1"]),
    ],
)
def test_the_policy_allows_the_domains_of_the_rule_this_port(origins, expected):
    assert domains(flash_policy([OriginRule(origins)], 8001)) == [(domain, "8001") for domain in expected]


def test_the_policy_of_several_routers_is_their_union():
    rules = [OriginRule(["a.com:80", "b.com:80"]), OriginRule(["b.com:*", "c.com:*"])]
    assert domains(flash_policy(rules, 80)) == [("a.com", "80"), ("b.com", "80"), ("c.com", "80")]


def test_no_entry_can_leave_the_policys_attribute():
    assert domains(flash_policy([OriginRule(['a"><b&.com:80'])], 80)) == [('a"><b&.com', "80")]


def test_the_policy_byte_for_byte():
    assert flash_policy([OriginRule(["a.com:*"])], 8001) == (
        b'<?xml version="1.0"?><cross-domain-policy>'
        b'<allow-access-from domain="a.com" to-ports="8001"/></cross-domain-policy>'
    )


# -- Whatever comes ----------------------------------------------------------------------------------------------------

HEADERS = st.text() | st.lists(
    st.sampled_from(["http://", "good.com", "evil", ".", ":", "80", "@", "[", "]", "#"])
).map("".join)


@given(HEADERS, HEADERS)
def test_any_header_has_an_answer(origin, host):
    for origins in (None, LISTED):
        assert OriginRule(origins).allows(origin, host) in (True, False)
        assert OriginRule(origins).allows_script({"Referer": origin}, host) in (True, False)


@given(HEADERS)
def test_what_the_default_lets_in_names_the_requested_host(origin):
    if OriginRule(None).allows(origin, HOST):
        assert re.match(r"https?://good\.com([:#/?]|$)", origin.lower().replace("\t", "").replace("\n", ""))


@given(HEADERS)
def test_any_entry_is_taken_or_the_callers_error(entry):
    try:
        rule = OriginRule([entry])
    except SettingsError:
        return
    assert "*" in entry or not rule.allows("http://somebody.else", HOST)
