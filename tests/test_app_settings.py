"""Settings of a router that stand in the application: they count where the router has none of its own."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import tornado.web
from tornado.httpserver import HTTPServer
from tornado.routing import HostMatches, PathMatches, Rule, RuleRouter

import tornadio
from tests.appserver import free_port
from tests.clients import open_client
from tests.internals import drain, port_of, relay_of, rules_of, settings_of
from tests.support import POLLING, Recorder, Served, shut_down
from tornadio.errors import SettingsError
from tornadio.settings import PROTOCOLS, Settings

StartPlain = Callable[[tornado.web.Application, tornadio.Router], Served]


@pytest.fixture
async def serve_plain() -> AsyncIterator[StartPlain]:
    """Serves an application by Tornado's own HTTPServer."""
    running: list[tuple[HTTPServer, Served]] = []
    Recorder.opened.clear()

    def start(application: tornado.web.Application, router: tornadio.Router) -> Served:
        server = HTTPServer(application)
        server.listen(0, "127.0.0.1")
        served = Served(SimpleNamespace(port=port_of(server)), router)  # type: ignore[arg-type]
        running.append((server, served))
        return served

    yield start
    for server, served in running:
        for wire in served.wires:
            await wire.aclose()
        server.stop()
        await drain(served.router)
        await server.close_all_connections()


async def statuses(served: Served, resource: str = "socket.io", **headers: str) -> dict[str, int]:
    """Each transport's status for a GET without an Upgrade: 403 if it is not enabled, 400 from a WebSocket."""
    found = {}
    for transport in PROTOCOLS:
        wire = await served.connect()
        await wire.send_request("GET", f"/{resource}/{transport}//1290000000000/0", headers)
        found[transport] = (await wire.read_head()).status
        await wire.aclose()
    return found


ONLY_WEBSOCKET = {name: 400 if name == "websocket" else 403 for name in PROTOCOLS}
ONLY_POLLING = {name: 200 if name in POLLING else 403 for name in PROTOCOLS}


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name == "tornadio.router"
    ]


def told(resource: str, *names: str) -> str:
    """The line in the log."""
    return (
        f"{resource}: tornado.web.Application has settings of this router, which count: {', '.join(names)}. "
        "They belong into the second argument of get_router"
    )


# -- What counts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [None, {}, {"session_expiry": 60}, Settings(), Settings(session_expiry=60)])
async def test_a_restriction_in_the_application_counts(serve, each_http, caplog, given):
    served = serve(settings=given, application={"enabled_protocols": ["websocket"]})
    assert await statuses(served) == ONLY_WEBSOCKET
    await open_client(served, "websocket")
    assert warnings_of(caplog) == [told("socket.io", "enabled_protocols")]


async def test_a_restriction_counts_on_a_server_of_tornados(serve_plain, caplog):
    router = tornadio.get_router(Recorder)
    application = tornado.web.Application([router.route()], enabled_protocols=["websocket"])
    served = serve_plain(application, router)
    assert await statuses(served) == ONLY_WEBSOCKET
    await open_client(served, "websocket")
    assert warnings_of(caplog) == [told("socket.io", "enabled_protocols")]


@pytest.mark.parametrize(
    "own", [{"enabled_protocols": POLLING}, Settings(enabled_protocols=POLLING)], ids=["dict", "Settings"]
)
async def test_the_routers_own_settings_win_by_name(serve, caplog, own):
    served = serve(settings=own, application={"enabled_protocols": ["websocket"], "session_expiry": 60})
    assert await statuses(served) == ONLY_POLLING
    assert settings_of(served.router) == Settings(enabled_protocols=POLLING, session_expiry=60)
    assert warnings_of(caplog) == [told("socket.io", "session_expiry")]


async def test_a_dict_that_gives_a_default_has_given_it(serve, caplog):
    served = serve(settings={"enabled_protocols": PROTOCOLS}, application={"enabled_protocols": ["websocket"]})
    assert settings_of(served.router) == Settings()
    assert warnings_of(caplog) == []


async def test_an_application_that_gives_the_defaults_changes_nothing(serve, caplog):
    served = serve(application={"enabled_protocols": list(PROTOCOLS), "heartbeat_interval": 12, "origins": None})
    assert settings_of(served.router) == Settings()
    assert warnings_of(caplog) == []


async def test_every_setting_is_read_but_those_whose_names_may_mean_anything(serve, caplog):
    wanted: dict[str, Any] = {
        "enabled_protocols": ("xhr-polling",),
        "session_check_interval": 1.0,
        "session_expiry": 2.0,
        "heartbeat_interval": 3.0,
        "heartbeat_timeout": 4.0,
        "open_timeout": 5.0,
        "xhr_polling_timeout": 6.0,
        "origins": ("example.com:*",),
        "hosts": ("example.com",),
        "one_frame_per_message": True,
        "max_message_size": 1000,
        "max_send_buffer": 2000,
        "max_sessions": 3,
        "max_sessions_per_address": 4,
    }
    # With what is not read, whatever its value is.
    unread = {"bus": SimpleNamespace(), "json": "a module", "node": 7, "color": "red", "xheaders": True}
    served = serve(application={**wanted, **unread})
    assert settings_of(served.router) == Settings(**wanted)
    assert relay_of(served.router) is None
    assert warnings_of(caplog) == [told("socket.io", *wanted)]


async def test_the_log_names_what_the_application_has_and_not_what_grows_with_it(serve, caplog):
    served = serve(application={"max_message_size": 16 << 20})
    assert settings_of(served.router).max_payload_size > 16 << 20
    assert warnings_of(caplog) == [told("socket.io", "max_message_size")]


async def test_limits_and_timeouts_take_effect(serve, clock):
    served = serve(application={"max_message_size": 20, "xhr_polling_timeout": 3, "max_sessions": 1})
    session_id, _ = await served.open()
    assert (await served.request("GET", "/socket.io/xhr-polling/")).status == 503
    wire = await served.start_poll(session_id)
    await clock.advance(3.1)
    assert (await wire.read_response()).text == ""
    assert (await served.post(session_id, 1000 * "x")).status == 413


async def test_a_bus_has_the_limit_of_the_application(serve):
    bus = SimpleNamespace(publish=print, subscribe=print, unsubscribe=print, close=print)
    router = tornadio.get_router(Recorder, {"bus": bus})
    tornado.web.Application([router.route()], max_send_buffer=1234)
    relay = relay_of(router)
    assert relay is not None
    assert relay.limit == 1234


async def test_origins_and_hosts_take_effect(serve, each_http):
    served = serve(application={"origins": ["example.com:*"]})
    assert set((await statuses(served, Host="example.com", Origin="http://example.org")).values()) == {403}
    assert (await statuses(served, Host="example.com", Origin="http://example.com"))["xhr-polling"] == 200
    assert set((await statuses(served, Host="example.net", Origin="http://example.com")).values()) == {403}
    named = serve(application={"hosts": ["chat.example.org"]})
    assert (await statuses(named, Host="chat.example.org"))["xhr-polling"] == 200
    assert set((await statuses(named, Host="example.org")).values()) == {403}
    assert rules_of(named.router)[1].allows_name("chat.example.org")


async def test_the_flash_policy_names_the_hosts_of_the_application(serve):
    served = serve(application={"origins": ["a.example.com:*"]})
    wire = await served.connect()
    await wire.send(b"<policy-file-request/>\0")
    assert b'domain="a.example.com"' in await wire.read_to_end()
    restricted = serve(application={"enabled_protocols": ["websocket"]})
    wire = await restricted.connect()
    await wire.send(b"<policy-file-request/>\0")
    assert b"domain" not in (await wire.read_to_end()).replace(b"cross-domain", b"")


@pytest.mark.parametrize(
    ("own", "application"),
    [
        ({}, {"heartbeat_interval": 60}),
        ({}, {"xhr_polling_timeout": 30}),
        ({"enabled_protocols": ["websocket"]}, {"heartbeat_interval": 60, "xhr_polling_timeout": 30}),
    ],
)
async def test_what_comes_too_late_for_clients_draws_a_warning_if_the_application_says_it(
    serve, caplog, own, application
):
    serve(settings=own, application=application)
    assert [record.name for record in caplog.records if record.levelno == logging.WARNING] == [
        "tornadio.settings",
        "tornadio.router",
    ]


async def test_what_comes_too_late_for_clients_is_told_once(serve, caplog):
    serve(settings={"xhr_polling_timeout": 30}, application={"session_expiry": 40})
    warnings = [record.name for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["tornadio.settings", "tornadio.router"]


# -- Which application -------------------------------------------------------------------------------------------------


async def test_each_router_is_told_of_once_wherever_it_is(caplog):
    def router(resource: str) -> tornadio.Router:
        return tornadio.get_router(Recorder, resource=resource)

    plain, nested, deep, of_host = routers = [router(name) for name in "abcd"]
    inner = tornado.web.Application([deep.route()], session_expiry=40)
    application = tornado.web.Application(
        [
            plain.route(),
            (r"/b/.*", [nested.route()]),
            Rule(HostMatches("localhost"), RuleRouter([Rule(PathMatches("/c/.*"), inner)])),
        ],
        socket_io_port=0,
        socket_io_address="127.0.0.1",
        enabled_protocols=["websocket"],
        session_expiry=50,
    )
    application.add_handlers(r"localhost", [of_host.route()])
    server = tornadio.SocketServer(application, auto_start=False)
    served = Served(server, plain)
    for resource in "abcd":
        assert await statuses(served, resource, Host="localhost") == ONLY_WEBSOCKET
    assert [settings_of(each).session_expiry for each in routers] == [50, 50, 40, 50]  # the nearest application's
    assert sorted(warnings_of(caplog)) == [
        told("a", "enabled_protocols", "session_expiry"),
        told("b", "enabled_protocols", "session_expiry"),
        told("c", "enabled_protocols"),  # of the application around
        told("c", "session_expiry"),
        told("d", "enabled_protocols", "session_expiry"),
    ]
    await shut_down(server)


async def test_settings_that_the_application_gets_later_count_when_the_server_starts(serve, caplog):
    router = tornadio.get_router(Recorder)
    application = tornado.web.Application([router.route()], socket_io_port=0, socket_io_address="127.0.0.1")
    application.settings["enabled_protocols"] = ["websocket"]
    server = tornadio.SocketServer(application, auto_start=False)
    assert await statuses(Served(server, router)) == ONLY_WEBSOCKET
    assert warnings_of(caplog) == [told("socket.io", "enabled_protocols")]
    await shut_down(server)


class OwnApplication(tornado.web.Application):
    """As many programs have it."""

    def __init__(self, router: tornadio.Router) -> None:
        settings: dict[str, Any] = {"enabled_protocols": ["websocket"], "debug": False}
        super().__init__([router.route()], **settings)


async def test_a_subclass_may_give_the_settings(serve_plain):
    router = tornadio.get_router(Recorder)
    assert await statuses(serve_plain(OwnApplication(router), router)) == ONLY_WEBSOCKET


# -- What is wrong -----------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"enabled_protocols": "websocket"}, "enabled_protocols must be a list, such as ['websocket'], not 'websocket'"),
    ({"enabled_protocols": ["xhr_polling"]}, "no transport 'xhr_polling': did you mean 'xhr-polling'?"),
    ({"heartbeat_interval": -1}, "heartbeat_interval must be above 0 seconds and finite, not -1 (the default is 12)"),
    ({"origins": ["example.com"]}, "origins: 'example.com' is no origin: write 'host:port' ('*' for any)"),
    ({"hosts": ["example.com:80"]}, "hosts: 'example.com:80' is no host name"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
async def test_a_wrong_value_is_an_error_that_names_the_application(settings, message):
    router = tornadio.get_router(Recorder)
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        tornado.web.Application([router.route()], **settings)
    assert str(caught.value).startswith("in the settings of tornado.web.Application, which count where get_router was")
    assert settings_of(router) == Settings()


@pytest.mark.parametrize(("settings", "message"), WRONG)
async def test_a_wrong_value_that_comes_later_is_an_error_before_anything_listens(settings, message):
    port = free_port()
    application = tornado.web.Application(
        [tornadio.get_router(Recorder).route()], socket_io_port=port, socket_io_address="127.0.0.1"
    )
    application.settings.update(settings)
    with pytest.raises(SettingsError, match=re.escape(message)):
        tornadio.SocketServer(application, auto_start=False)
    server = HTTPServer(application)
    server.listen(port, "127.0.0.1")  # it is free
    server.stop()


async def test_a_wrong_value_is_none_where_the_router_has_its_own(serve):
    served = serve(settings={"origins": None}, application={"origins": "anywhere"})
    assert settings_of(served.router) == Settings()
