"""Who may connect: one rule, row by row."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import brief
from tornadio.errors import SettingsError
from tornadio.web.hosts import make_host_rule
from tornadio.web.origins import (
    REFUSED,
    OriginRule,
    cors_headers,
    flash_policy,
    host_of,
    parse_origin,
    preflight_headers,
)

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
    ],
)
def test_a_list_is_all_there_is(origin, allowed):
    assert OriginRule(LISTED).allows(origin, "good.com:1234") is allowed


def test_the_requested_host_does_not_matter_to_a_list():
    assert not OriginRule(["pages.example:*"]).allows("http://good.com:8001", HOST)


def test_an_empty_list_lets_no_page_in():
    rule = OriginRule([])
    assert not rule.allows("http://good.com:8001", HOST)
    assert rule.refusal({}, HOST, is_script=False) is None


@pytest.mark.parametrize("origin", ["http://evil.com", "null", "file://", "chrome-extension://abc", ""])
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
        "*good.com:80",
        "*good.com",
        "*.good.com",
        "a.*.com:80",
        "*.*.com:80",
        "*.:*",
        "*.*:*",
        "*.[::1]:80",
        "*.127.0.0.1:*",
        "*..good.com:80",
        "user@good.com:80",
        "good.com :80",
        " good.com:80",
        "good.com:80\n",
        "::1:80",
        "Null",
        "//good.com",
        "http://",
        "https://good.com:",
        "https://good.com/path",
        "https://good.com?",
        "https://good.com#",
        "https://user@good.com",
        "https://*good.com",
        "https://a.*.com",
        "https://*.",
        "https://*.*.com",
        "https://*",
        "https://*.good.com:*",
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


@pytest.mark.parametrize(
    ("entry", "origin", "allowed"),
    [
        ("*.good.com:*", "http://www.good.com", True),
        ("*.good.com:*", "https://a.b.good.com:8443", True),
        ("*.good.com:*", "http://WWW.GOOD.com", True),
        ("*.Good.COM:*", "http://www.good.com", True),
        ("*.bücher.example:*", "http://www.xn--bcher-kva.example", True),
        ("*.good.com:*", "http://good.com", False),
        ("*.good.com:*", "http://.good.com", False),
        ("*.good.com:*", "http://evilgood.com", False),
        ("*.good.com:*", "http://www.good.com.evil.com", False),
        ("*.good.com:*", "http://www.good.com@evil.com", False),
        ("*.good.com:8001", "http://www.good.com:8001", True),
        ("*.good.com:8001", "http://www.good.com", False),
        ("https://*.good.com", "https://www.good.com", True),
        ("https://*.good.com", "https://www.good.com:8443", False),
        ("https://*.good.com", "http://www.good.com", False),
        ("https://*.good.com", "https://good.com", False),
        ("https://*.good.com:8443", "https://www.good.com:8443", True),
        ("https://*.good.com/", "https://www.good.com", True),
    ],
)
def test_an_entry_may_be_for_all_names_below_one(entry, origin, allowed):
    assert OriginRule([entry]).allows(origin, "good.com:8001") is allowed


@pytest.mark.parametrize("entry", ["*.good.com:*", "*.good.com:8001", "https://*.good.com"])
def test_the_requested_host_and_the_policy_follow_such_an_entry(entry):
    rule = OriginRule([entry])
    assert rule.hosts == ["*.good.com"]
    assert domains(flash_policy(rule.hosts, 8001)) == [("*.good.com", "8001")]
    hosts = make_host_rule(None, rule, "machine")
    assert hosts.allows_name("www.good.com:8001")
    assert not hosts.allows_name("good.com")
    assert not hosts.allows_name("evilgood.com")


# -- Internationalized names ------------------------------------------------------------------------------------------

# Each name as one may write it, and as a browser sends it.
NAMES = [
    ("bücher.example", "xn--bcher-kva.example"),
    ("BÜCHER.example", "xn--bcher-kva.example"),
    ("bu\u0308cher.example", "xn--bcher-kva.example"),
    ("日本語.example", "xn--wgv71a119e.example"),
    ("日本語。example", "xn--wgv71a119e.example"),
]


@pytest.mark.parametrize(("name", "sent"), NAMES)
@pytest.mark.parametrize("entry", ["{}:*", "{}:80", "http://{}"])
def test_an_entry_may_be_internationalized(name, sent, entry):
    rule = OriginRule([entry.format(name)])
    as_tornado_reads_it = name.encode().decode("latin-1")
    for header in (sent, sent.upper(), name, as_tornado_reads_it):
        assert rule.allows(f"http://{header}", HOST), header
    assert not rule.allows("http://bcher.example", HOST)
    assert rule.hosts == [sent]


@pytest.mark.parametrize(("name", "sent"), NAMES)
def test_the_requested_host_may_be_internationalized(name, sent):
    for host in (sent, name, name.encode().decode("latin-1")):
        assert host_of(f"{host}:8001") == sent
        for origin in (sent, name):
            assert OriginRule(None).allows(f"http://{origin}", host)
    assert OriginRule([f"{sent}:*"]).allows(f"http://{name}", HOST)


@pytest.mark.parametrize(
    "name",
    [
        "faß.example",  # a name for browsers, "fass.example" for IDNA 2003
        "ς.example",
        "a\u200db.example",
        "ü..example",
        "ü" * 64 + ".example",
        "ü." * 200 + "example",
        "\ud800.example",
        "ü\u2028.example",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("entry", ["{}:*", "http://{}"])
def test_an_entry_that_browsers_send_otherwise_is_the_callers_error(name, entry):
    with pytest.raises(SettingsError, match=r"origins: .* is no origin: write .*ASCII form, 'xn--\.\.\.'"):
        OriginRule([entry.format(name)])
    assert not OriginRule(None).allows(f"http://{name}", name)
    assert not OriginRule(["fass.example:*"]).allows(f"http://{name}", HOST)


# -- Without Origin ---------------------------------------------------------------------------------------------------

GOOD, EVIL = "http://good.com/page?a=b#c", "http://evil.com/http://good.com/"
PAGE_UNTOLD = "a request of another origin must say whose: let the page send a Referer"
SCRIPT_UNTOLD = "a script's request must carry a Referer"


@pytest.mark.parametrize("is_script", [False, True], ids=["", "script"])
@pytest.mark.parametrize(
    ("origin", "site", "referer", "refusal"),
    [
        (None, "same-origin", None, None),
        (None, "none", None, None),
        (None, "same-origin", EVIL, None),  # the browser knows better than the header
        (None, "none", EVIL, None),
        (None, "same-site", None, PAGE_UNTOLD),
        (None, "cross-site", None, PAGE_UNTOLD),
        (None, "", None, PAGE_UNTOLD),
        (None, "SAME-ORIGIN", None, PAGE_UNTOLD),
        (None, "something-new", None, PAGE_UNTOLD),
        (None, None, GOOD, None),
        (None, "same-site", GOOD, None),
        (None, "cross-site", GOOD, None),
        (None, None, EVIL, REFUSED),
        (None, "same-site", EVIL, REFUSED),
        (None, "cross-site", EVIL, REFUSED),
        (None, None, "", REFUSED),
        (None, None, "about:blank", REFUSED),
        (None, None, "http://good.com@evil.com/", REFUSED),
        (None, None, "http://good.com.evil.com/", REFUSED),
        ("http://good.com", None, None, None),
        ("http://good.com", "cross-site", EVIL, None),
        ("http://evil.com", None, None, REFUSED),
        ("http://evil.com", "same-origin", GOOD, REFUSED),
        ("null", None, GOOD, REFUSED),
        ("", "same-origin", None, REFUSED),
    ],
)
def test_a_request_shows_where_it_comes_from(origin, site, referer, refusal, is_script):
    given = {"Origin": origin, "Sec-Fetch-Site": site, "Referer": referer}
    headers = {name: value for name, value in given.items() if value is not None}
    for rule, host in [
        (OriginRule(None), HOST),
        (OriginRule(["good.com:*"]), "other.com"),  # the same rule, written as a list
    ]:
        text = rule.refusal(headers, host, is_script)
        assert text is None if refusal is None else (text or "").startswith(refusal)
    assert OriginRule(["*:*"]).refusal(headers, HOST, is_script) is None


@pytest.mark.parametrize("origins", [None, ["good.com:*"], []])
def test_without_a_word_a_request_is_a_programs_and_no_scripts(origins):
    assert OriginRule(origins).refusal({}, HOST, is_script=False) is None
    text = OriginRule(origins).refusal({}, HOST, is_script=True)
    assert text == (
        "a script's request must carry a Referer: let the page send it (see its Referrer-Policy), or use xhr-polling"
    )
    assert OriginRule(["*:*"]).refusal({}, HOST, is_script=True) is None


# -- Headers ----------------------------------------------------------------------------------------------------------


def test_cors_headers_name_the_one_origin():
    assert cors_headers("http://good.com") == {
        "Access-Control-Allow-Origin": "http://good.com",
        "Access-Control-Allow-Credentials": "true",
    }


@pytest.mark.parametrize(
    ("asked_for", "allowed"),
    [
        ("", "Content-Type"),
        ("content-type", "Content-Type"),
        ("traceparent, content-type,x-app-version", "Content-Type, traceparent, x-app-version"),
        ("Authorization", "Content-Type, Authorization"),
        ("a b, *, c\r\nX: 1, é, d:", "Content-Type, *"),
        (",,", "Content-Type"),
    ],
)
def test_a_preflight_is_allowed_the_headers_that_it_asks_for(asked_for, allowed):
    assert preflight_headers(asked_for)["Access-Control-Allow-Headers"] == allowed


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
        ([], []),
        (["*:*"], ["*"]),
        (["*:80"], ["*"]),
        (["a.com:80", "a.com:81", "https://b.com"], ["a.com", "b.com"]),
        (LISTED, ["good.com", "pages.example", "secure.example", "*", "::1"]),
    ],
)
def test_the_policy_allows_the_domains_of_the_rule_this_port(origins, expected):
    hosts = OriginRule(origins).hosts
    assert hosts is not None
    assert domains(flash_policy(hosts, 8001)) == [(domain, "8001") for domain in expected]


def test_the_policy_names_each_domain_once():
    assert domains(flash_policy(["a.com", "b.com", "b.com", "c.com"], 80)) == [
        ("a.com", "80"),
        ("b.com", "80"),
        ("c.com", "80"),
    ]


def test_no_entry_can_leave_the_policys_attribute():
    assert domains(flash_policy(['a"><b&.com'], 80)) == [('a"><b&.com', "80")]


def test_the_policy_byte_for_byte():
    assert flash_policy(["a.com"], 8001) == (
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
        assert (OriginRule(origins).refusal({"Referer": origin}, host, True) is None) == OriginRule(origins).allows(
            origin, host
        )


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
