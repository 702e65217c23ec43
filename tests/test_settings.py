"""The settings of a router: what is right is kept, what is wrong is told."""

from __future__ import annotations

import dataclasses
import logging
import re
import traceback
from fractions import Fraction
from types import SimpleNamespace

import pytest

import tornadio
from tests.internals import settings_of
from tests.support import brief
from tornadio.errors import CallerError, SettingsError
from tornadio.settings import PROTOCOLS, Compression, Settings, make_settings, names_given

TIMES = [
    "session_check_interval",
    "session_expiry",
    "heartbeat_interval",
    "heartbeat_timeout",
    "open_timeout",
    "xhr_polling_timeout",
]
COUNTS = ["max_message_size", "max_send_buffer", "max_sessions", "max_sessions_per_address"]


def test_the_transports_are_those_of_the_documents():
    names = ("websocket", "flashsocket", "xhr-multipart", "xhr-polling", "jsonp-polling", "htmlfile")
    assert names == PROTOCOLS  # in the official client's order


@pytest.mark.parametrize("given", [None, {}])
def test_the_defaults_are_those_of_the_documents(given):
    assert dataclasses.asdict(make_settings(given)) == {
        "enabled_protocols": PROTOCOLS,
        "session_check_interval": 15,
        "session_expiry": 30,
        "heartbeat_interval": 12,
        "heartbeat_timeout": 30,
        "open_timeout": 30,
        "xhr_polling_timeout": 20,
        "origins": None,
        "hosts": None,
        "json": "marked",
        "one_frame_per_message": False,
        "max_message_size": 1 << 20,
        "max_payload_size": 8 << 20,
        "max_send_buffer": 16 << 20,
        "max_sessions": 100_000,
        "max_sessions_per_address": None,
        "compression": None,
        "bus": None,
        "node": "",
    }


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("seconds", [1, 0.25, 1e-9, 14.5])
def test_a_time_is_seconds_above_zero(name, seconds):
    assert getattr(make_settings({name: seconds}), name) == seconds


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [1, 4096, 1 << 40])
def test_a_limit_is_a_whole_number_of_at_least_one(name, count):
    assert getattr(make_settings({name: count}), name) == count


@pytest.mark.parametrize("size", [1, 1 << 20, 4 << 20, 1 << 30])
def test_the_default_payload_has_room_for_one_message_even_if_a_form_doubles_it(size):
    message = 2 * size + len(f"~m~{size}~m~")
    assert make_settings({"max_message_size": size}).max_payload_size == max(8 << 20, message)


@pytest.mark.parametrize(("size", "least"), [(1, 8), (1000, 1010), (16 << 20, (16 << 20) + 14)])
def test_a_payload_that_has_no_room_for_a_message_is_an_error(size, least):
    given = {"max_message_size": size, "max_payload_size": least}
    assert make_settings(given).max_payload_size == least
    with pytest.raises(SettingsError) as caught:
        tornadio.get_router(tornadio.SocketConnection, given | {"max_payload_size": least - 1})
    assert str(caught.value) == (
        f"max_payload_size, {least - 1}, has no room for a message of max_message_size, {size}, with its frame's "
        f"header: set it to at least {least}, or max_message_size lower"
    )


@pytest.mark.parametrize("protocols", [["websocket"], ("htmlfile", "xhr-polling"), list(PROTOCOLS), {"jsonp-polling"}])
def test_some_of_the_transports_can_be_enabled(protocols):
    assert make_settings({"enabled_protocols": protocols}).enabled_protocols == tuple(protocols)


@pytest.mark.parametrize(("origins", "kept"), [(None, None), ([], ()), (["a:80", "*:*"], ("a:80", "*:*"))])
def test_origins_are_a_list_or_the_default_rule(origins, kept):
    assert make_settings({"origins": origins}).origins == kept


@pytest.mark.parametrize(("hosts", "kept"), [(None, None), ([], ()), (["a", "*.b"], ("a", "*.b"))])
def test_hosts_are_a_list_or_those_of_the_origins(hosts, kept):
    assert make_settings({"hosts": hosts}).hosts == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        (False, None),
        (True, Compression()),
        ({}, Compression()),
        ({"level": 1, "threshold": 0}, Compression(level=1, threshold=0)),
        (Compression(context_takeover=True), Compression(context_takeover=True)),
    ],
)
def test_compression_is_kept_as_its_fields(given, kept):
    assert make_settings({"compression": given}).compression == kept


def test_compression_has_zlibs_defaults_and_leaves_short_messages():
    assert dataclasses.asdict(Compression()) == {
        "level": 6,
        "memory_level": 8,
        "threshold": 1024,
        "context_takeover": False,
    }
    assert tornadio.Compression is Compression


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (1, "compression must be True, tornadio.Compression or a dict of its fields, or None for none, not 1"),
        ("on", "or a dict of its fields, or None for none, not 'on'"),
        ({"levle": 1}, "compression: no field 'levle': did you mean 'level'?"),
        ({"window": 15}, "compression: no field 'window': there are level, memory_level, threshold, context_takeover"),
        ({"level": 0}, "compression: level must be a whole number from 1 to 9, not 0"),
        ({"level": 10}, "compression: level must be a whole number from 1 to 9, not 10"),
        ({"level": True}, "compression: level must be a whole number from 1 to 9, not True"),
        ({"memory_level": 1.0}, "compression: memory_level must be a whole number from 1 to 9, not 1.0"),
        ({"threshold": -1}, "compression: threshold must be a whole number of bytes, not -1"),
        ({"threshold": None}, "compression: threshold must be a whole number of bytes, not None"),
        ({"context_takeover": 1}, "compression: context_takeover must be True or False, not 1"),
    ],
)
def test_what_is_no_compression_is_told(given, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        make_settings({"compression": given})


@pytest.mark.parametrize("node", ["", "a", "0", "machine1process2"])
def test_a_node_is_a_few_characters(node):
    assert make_settings({"node": node}).node == node


def test_json_is_one_of_two_formats_and_a_switch_is_true_or_false():
    assert make_settings({"json": "plain", "one_frame_per_message": True}) == Settings(
        json="plain", one_frame_per_message=True
    )


@pytest.mark.parametrize(
    "bus",
    [
        None,
        "redis://host:6379/0",
        "rediss://user:password@host",
        "unix:///run/redis.sock?db=1",
        SimpleNamespace(publish=print, subscribe=print, unsubscribe=print, close=print),
    ],
    ids=brief,
)
def test_a_bus_is_a_url_of_redis_or_an_object_with_its_methods(bus):
    assert make_settings({"bus": bus}).bus is bus
    assert "password" not in repr(make_settings({"bus": bus}))
    tornadio.get_router(tornadio.SocketConnection, {"bus": bus})


@pytest.mark.parametrize("url", ["redis://user:secret@host:port", "http://user:secret@host", "redis://:secret@h?db=x"])
def test_the_password_of_a_wrong_url_is_not_told(url):
    with pytest.raises(SettingsError) as caught:
        tornadio.get_router(tornadio.SocketConnection, {"bus": url})
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_one_setting_leaves_the_others_as_they_are():
    assert make_settings({"session_expiry": 60}) == dataclasses.replace(Settings(), session_expiry=60)


def test_settings_may_be_given_as_an_object():
    settings = tornadio.Settings(session_expiry=60, enabled_protocols=["websocket"], origins=["a:80"])
    assert settings_of(tornadio.get_router(tornadio.SocketConnection, settings)) is settings
    assert settings == make_settings({"session_expiry": 60, "enabled_protocols": ("websocket",), "origins": ("a:80",)})
    assert (settings.enabled_protocols, settings.origins) == (("websocket",), ("a:80",))
    assert isinstance(settings.session_expiry, float)
    assert hash(settings) == hash(dataclasses.replace(settings))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"session_expiry": -1}, "session_expiry must be above 0 seconds and finite, not -1 (the default is 30)"),
        ({"json": "bare"}, "json must be 'marked' or 'plain', not 'bare'"),
        ({"json": True}, "json must be 'marked' or 'plain', not True"),
        ({"json": []}, "json must be 'marked' or 'plain', not []"),
        ({"one_frame_per_message": 1}, "one_frame_per_message must be True or False, not 1"),
        ({"max_sessions": 0}, "max_sessions must be a whole number of at least 1, not 0 (the default is 100,000)"),
        ({"enabled_protocols": ["xhr_polling"]}, "enabled_protocols: no transport 'xhr_polling': did you mean"),
        ({"hosts": "example.com"}, "hosts must be a list, such as ['example.com']"),
        ({"node": "A"}, "node must be up to 16 of 0-9 and a-z, not 'A'"),
    ],
    ids=brief,
)
def test_an_object_is_checked_when_it_is_made_as_a_dict_is_by_the_router(given, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        tornadio.Settings(**given)
    with pytest.raises(SettingsError, match=re.escape(message)):
        dataclasses.replace(tornadio.Settings(), **given)
    with pytest.raises(SettingsError, match=re.escape(message)):
        tornadio.get_router(tornadio.SocketConnection, given)


def test_an_unknown_name_is_an_error_that_names_it():
    with pytest.raises(TypeError, match="sesion_expiry"):
        tornadio.Settings(sesion_expiry=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("settings", [Settings(origins=["example.com"]), Settings(hosts=["a:80"])])
def test_what_the_rules_of_an_object_say_is_checked_by_the_router(settings):
    with pytest.raises(SettingsError, match=r"is no origin|is no host name"):
        tornadio.get_router(tornadio.SocketConnection, settings)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, set()),
        ({}, set()),
        ({"session_expiry": 30, "origins": None}, {"session_expiry", "origins"}),
        (Settings(session_expiry=30), set()),
        (Settings(session_expiry=31, enabled_protocols=["websocket"]), {"session_expiry", "enabled_protocols"}),
    ],
)
def test_a_router_was_given_what_a_dict_names_and_what_an_object_has_changed(given, names):
    assert names_given(given) == names


def test_the_constants_of_the_original():
    assert list(tornadio.router.PROTOCOLS) == list(PROTOCOLS)
    assert {name: handler.transport for name, handler in tornadio.router.PROTOCOLS.items()} == {
        name: name for name in PROTOCOLS
    }
    assert dict(tornadio.router.DEFAULT_SETTINGS) == dataclasses.asdict(Settings())
    for constant in (tornadio.router.PROTOCOLS, tornadio.router.DEFAULT_SETTINGS):
        with pytest.raises(TypeError):
            constant["websocket"] = None  # type: ignore[index]
    own = dict(tornadio.router.DEFAULT_SETTINGS, session_expiry=60)
    assert settings_of(tornadio.get_router(tornadio.SocketConnection, own)) == Settings(session_expiry=60)


def test_settings_do_not_change_any_more():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_settings({}).session_expiry = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"socket_io_port": 8002}, "a setting of the application: tornado.web.Application([...], socket_io_port=8002)"),
        ({"heartbeat": 12}, "unknown setting 'heartbeat': did you mean 'heartbeat_timeout'?"),
        ({"heartbeat_intervall": 12}, "unknown setting 'heartbeat_intervall': did you mean 'heartbeat_interval'?"),
        ({"session_check": 1}, "unknown setting 'session_check': did you mean 'session_check_interval'?"),
        ({"SESSION_EXPIRY": 1}, "unknown setting 'SESSION_EXPIRY': did you mean 'session_expiry'?"),
        ({"enabled_protocol": []}, "unknown setting 'enabled_protocol': did you mean 'enabled_protocols'?"),
        ({"xhr_polling_time": 1}, "unknown setting 'xhr_polling_time': did you mean 'xhr_polling_timeout'?"),
        ({"origin": []}, "unknown setting 'origin': did you mean 'origins'?"),
        ({"max_message": 1}, "unknown setting 'max_message': did you mean 'max_message_size'?"),
        ({"max_session": 1}, "unknown setting 'max_session': did you mean 'max_sessions'?"),
        ({"max_buffer": 1}, "unknown setting 'max_buffer': did you mean 'max_send_buffer'?"),
        ({"nothing like it": 1}, "unknown setting 'nothing like it': there are enabled_protocols,"),
        ({1: 1}, "unknown setting 1: there are enabled_protocols,"),
        ("session_expiry", "settings must be a dict or tornadio.Settings, not str"),
        (7, "settings must be a dict or tornadio.Settings, not int"),
        (Settings, "settings must be a dict or tornadio.Settings, not type"),
        ([("session_expiry", 1)], "settings must be a dict or tornadio.Settings, not list"),
        (
            {"enabled_protocols": "xhr-polling"},
            "enabled_protocols must be a list, such as ['websocket'], not 'xhr-polling'",
        ),
        ({"enabled_protocols": None}, "enabled_protocols must be a list, such as ['websocket'], not None"),
        ({"enabled_protocols": 6}, "enabled_protocols must be a list, such as ['websocket'], not 6"),
        (
            {"enabled_protocols": []},
            f"enabled_protocols must name at least one of {', '.join(PROTOCOLS)}",
        ),
        (
            {"enabled_protocols": ["websocket", "xhr_polling"]},
            "enabled_protocols: no transport 'xhr_polling': did you mean 'xhr-polling'?",
        ),
        ({"enabled_protocols": ["jsonp"]}, "enabled_protocols: no transport 'jsonp': did you mean 'jsonp-polling'?"),
        (
            {"enabled_protocols": ["websockets"]},
            "enabled_protocols: no transport 'websockets': did you mean 'websocket'?",
        ),
        ({"enabled_protocols": ["carrier pigeon"]}, "no transport 'carrier pigeon': there are websocket, flashsocket,"),
        ({"enabled_protocols": [1]}, "enabled_protocols: no transport 1: there are websocket,"),
        ({"origins": "example.org"}, "origins must be a list, such as ['example.com:*'], not 'example.org'"),
        ({"origins": True}, "origins must be a list, such as ['example.com:*'], not True"),
        ({"origins": ["example.com"]}, "origins: 'example.com' is no origin: write 'host:port' ('*' for any)"),
        ({"host": []}, "unknown setting 'host': did you mean 'hosts'?"),
        ({"hosts": "example.org"}, "hosts must be a list, such as ['example.com'], not 'example.org'"),
        ({"hosts": 1}, "hosts must be a list, such as ['example.com'], not 1"),
        (
            {"hosts": ["example.com:80"]},
            "hosts: 'example.com:80' is no host name: write 'example.com', '*.example.com'",
        ),
        ({"origins": ["a:80", None]}, "origins: None is no origin: write 'host:port' ('*' for any)"),
        ({"nodes": "a"}, "unknown setting 'nodes': did you mean 'node'?"),
        ({"node": "A"}, "node must be up to 16 of 0-9 and a-z, not 'A'"),
        ({"node": "a-1"}, "node must be up to 16 of 0-9 and a-z, not 'a-1'"),
        ({"node": "a\n"}, "node must be up to 16 of 0-9 and a-z, not 'a\\n'"),
        ({"node": 17 * "a"}, "node must be up to 16 of 0-9 and a-z, not 'aaaaaaaaaaaaaaaaa'"),
        ({"node": 1}, "node must be up to 16 of 0-9 and a-z, not 1"),
        ({"node": None}, "node must be up to 16 of 0-9 and a-z, not None"),
        ({"buss": None}, "unknown setting 'buss': did you mean 'bus'?"),
        ({"bus": "localhost:6379"}, "bus must be a URL that begins with redis://, rediss://, unix://, or an object"),
        ({"bus": ""}, "bus must be a URL that begins with redis://, rediss://, unix://, or an object"),
        ({"bus": True}, "bool has no publish, subscribe, unsubscribe, close"),
        ({"bus": SimpleNamespace(publish=print, subscribe=print, close=print)}, "SimpleNamespace has no unsubscribe"),
        ({"bus": tornadio.RedisBus}, "bus must be a URL such as 'redis://host:6379', or an object"),
        ({"bus": "redis://host:port"}, "that is no URL of Redis as redis-py takes them, such as redis://host:6379"),
    ],
    ids=brief,
)
def test_a_mistake_is_an_error_that_names_what_is_right(given, message):
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        tornadio.get_router(tornadio.SocketConnection, given)
    assert isinstance(caught.value, CallerError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("session_check_interval", "15"),
        ("session_expiry", "30"),
        ("heartbeat_interval", "12"),
        ("heartbeat_timeout", "30"),
        ("open_timeout", "30"),
        ("xhr_polling_timeout", "20"),
    ],
)
@pytest.mark.parametrize(
    ("value", "mistake"),
    [
        (0, "must be above 0 seconds and finite, not 0"),
        (-1, "must be above 0 seconds and finite, not -1"),
        (-0.5, "must be above 0 seconds and finite, not -0.5"),
        (float("inf"), "must be above 0 seconds and finite, not inf"),
        (float("nan"), "must be above 0 seconds and finite, not nan"),
        (10**400, "must be above 0 seconds and finite, not 1000000"),
        ("15", "must be a number of seconds, not '15'"),
        (None, "must be a number of seconds, not None"),
        (True, "must be a number of seconds, not True"),
        ([1], "must be a number of seconds, not [1]"),
        (Fraction(1, 2), "must be a number of seconds, not Fraction(1, 2)"),
    ],
    ids=brief,
)
def test_a_wrong_time_is_an_error_with_its_default(name, default, value, mistake):
    with pytest.raises(SettingsError, match=re.escape(f"{name} {mistake}")) as caught:
        tornadio.get_router(tornadio.SocketConnection, {name: value})
    assert str(caught.value).endswith(f" (the default is {default})")


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("max_message_size", "1,048,576"),
        ("max_payload_size", "8,388,608"),
        ("max_send_buffer", "16,777,216"),
        ("max_sessions", "100,000"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, 1.0, 1e6, float("inf"), "1024", None, True, [1]], ids=repr)
def test_a_wrong_limit_is_an_error_with_its_default(name, default, value):
    with pytest.raises(SettingsError) as caught:
        tornadio.get_router(tornadio.SocketConnection, {name: value})
    assert str(caught.value) == (
        f"{name} must be a whole number of at least 1, not {value!r} (the default is {default})"
    )


@pytest.mark.parametrize("value", [0, -1, 1.0, "10", True], ids=repr)
def test_a_wrong_limit_of_an_address_is_an_error(value):
    with pytest.raises(SettingsError) as caught:
        make_settings({"max_sessions_per_address": value})
    assert str(caught.value) == (
        f"max_sessions_per_address must be a whole number of at least 1, not {value!r} (the default is None)"
    )


def test_the_limit_of_an_address_may_be_left_to_the_default():
    assert make_settings({"max_sessions_per_address": None}).max_sessions_per_address is None


@pytest.mark.parametrize("interval", [15, 15.0, 60])
def test_a_heartbeat_that_comes_too_late_draws_a_warning(interval, caplog):
    tornadio.get_router(tornadio.SocketConnection, {"heartbeat_interval": interval})
    [record] = caplog.records
    assert (record.name, record.levelno) == ("tornadio.settings", logging.WARNING)
    assert f"heartbeat_interval is {interval:g} s" in record.getMessage()
    assert "15 s of silence" in record.getMessage()


@pytest.mark.parametrize("timeout", [25, 30.0, 600])
def test_a_poll_that_is_answered_too_late_draws_a_warning(timeout, caplog):
    tornadio.get_router(tornadio.SocketConnection, {"xhr_polling_timeout": timeout})
    [record] = caplog.records
    assert (record.name, record.levelno) == ("tornadio.settings", logging.WARNING)
    assert f"xhr_polling_timeout is {timeout:g} s, but" in record.getMessage()
    assert "25 s without a response" in record.getMessage()


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"heartbeat_interval": 14.9, "xhr_polling_timeout": 24.9},
        {"heartbeat_timeout": 60},
        {"enabled_protocols": ["websocket", "htmlfile"], "xhr_polling_timeout": 60},
        {"enabled_protocols": ["xhr-polling", "jsonp-polling"], "heartbeat_interval": 60},
    ],
)
def test_what_is_in_time_or_concerns_nobody_draws_none(given, caplog):
    tornadio.get_router(tornadio.SocketConnection, given)
    assert caplog.records == []
