"""docs/howto/django-flask.rst: a site of Django behind nginx beside TornadIO, and one of Flask in its process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import tornadio
from tests.appserver import AppServer, Daemon, free_port, quiet_environment
from tests.deployment.fleet import daemon_of, with_own_places
from tests.documents.pages import Page, on_given_port
from tests.redis_fixtures import RedisServer
from tests.support import limit
from tornadio.errors import ConnectError

PAGE = Page("docs/howto/django-flask.rst")
LIVE = PAGE.code("Django, in two processes", 0)
VIEWS = PAGE.code("Django, in two processes", 1)
NGINX = PAGE.code("Django, in two processes", language="nginx")
FLASK = PAGE.code("Flask, in one process")
DOCUMENTED = "redis://localhost:6379/0"

# -- Django ------------------------------------------------------------------------------------------------------------

SETTINGS = """
from pathlib import Path
SECRET_KEY = "of the test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("db")}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"]},
}
"""
URLS = """
from django.urls import path
from mysite import views
urlpatterns = [path("order", views.order)]
"""
# Sets up the database, and prints the session of somebody who has logged in.
LOGIN = """
import django
django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
client = Client()
client.force_login(get_user_model().objects.create_user("ann"))
print(client.cookies["sessionid"].value)
"""


class Site:
    """nginx, Django and TornadIO.

    :ivar url: nginx'.
    :ivar session: of somebody who is logged in.
    """

    def __init__(self, directory: Path, redis_url: str) -> None:
        package = directory / "mysite"
        package.mkdir()
        files = {"__init__": "", "settings": SETTINGS, "urls": URLS, "views": VIEWS.replace(DOCUMENTED, redis_url)}
        for name, text in files.items():
            (package / f"{name}.py").write_text(text, encoding="utf-8")
        environment = quiet_environment() | {"DJANGO_SETTINGS_MODULE": "mysite.settings"}
        login = subprocess.run(
            [sys.executable, "-c", LOGIN], cwd=directory, env=environment, check=True, text=True, stdout=subprocess.PIPE
        )
        self.session = login.stdout.strip()
        script = directory / "live.py"
        program = on_given_port(LIVE.replace(DOCUMENTED, redis_url))
        script.write_text(program, encoding="utf-8")
        self.tornadio = AppServer(script, (), directory / "live.txt")
        django_port, self.port = free_port(), free_port()
        manage = "import sys; sys.path.insert(0, sys.argv.pop(1)); from django.core.management import *; "
        command = ["-c", manage + "execute_from_command_line(sys.argv)", str(directory), "runserver", "--noreload"]
        options = ["--settings=mysite.settings", f"127.0.0.1:{django_port}"]
        django_command = [sys.executable, *command, *options]
        self.django = Daemon("django", django_command, django_port, directory / "django.txt")
        locations = NGINX.replace("127.0.0.1:8001", f"127.0.0.1:{self.tornadio.port}")
        locations = locations.replace("127.0.0.1:8000", f"127.0.0.1:{django_port}")
        server = f"server {{\nlisten 127.0.0.1:{self.port};\n{locations}}}"
        text = with_own_places(f"events {{}}\nhttp {{\naccess_log off;\n{server}\n}}\n")
        (directory / "nginx.conf").write_text(text, encoding="utf-8")
        arguments = ("-p", str(directory), "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off; pid nginx.pid;")
        self.nginx = daemon_of("nginx", *arguments, port=self.port, directory=directory)
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        for each in (self.tornadio, self.django, self.nginx):
            each.start()

    def kill(self) -> None:
        self.nginx.stop()
        for each in (self.tornadio, self.django):
            each.kill()


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Iterator[Site]:
    site = Site(tmp_path, redis_server.url)
    try:
        site.start()
        yield site
    finally:
        site.kill()


@pytest.mark.needs("nginx")
async def test_the_login_of_django_is_the_sockets_and_its_views_send_to_the_user(
    site: Site, redis_server: RedisServer
) -> None:
    resource = f"{site.url}/socket.io"
    for cookies in ({}, {"sessionid": "made0up"}):
        with pytest.raises(ConnectError, match="403"):
            await tornadio.connect(resource, transports=["xhr-polling"], cookies=cookies)
    session = {"sessionid": site.session}
    async with (
        tornadio.connect(resource, cookies=session) as tab,
        tornadio.connect(resource, transports=["xhr-polling"], cookies=session) as other_tab,
        httpx.AsyncClient(base_url=site.url, cookies=session) as browser,
        limit(),
    ):
        await tab.send("hello")
        assert [await each.recv() for each in (tab, other_tab)] == ["ann: hello"] * 2
        await redis_server.wait_for_subscribers("tornadio:socket.io:group:user-1", 1)
        assert (await browser.post("/order")).status_code == 204
        assert [await each.recv() for each in (tab, other_tab)] == [{"order": "accepted"}] * 2
        redis_server.kill()
        try:
            assert (await browser.post("/order")).status_code == 204
        finally:
            redis_server.start()
    assert "BusError" in site.django.output()


# -- Flask -------------------------------------------------------------------------------------------------------------


async def test_the_login_of_flask_is_the_sockets_and_its_views_send(app_server: Callable[..., AppServer]) -> None:
    server = app_server(on_given_port(FLASK))
    resource = f"{server.url}/socket.io"
    with pytest.raises(ConnectError, match="403"):
        await tornadio.connect(resource, transports=["xhr-polling"])
    async with httpx.AsyncClient(base_url=server.url) as browser, limit():
        assert (await browser.post("/login", data={"user": "ann"})).text == "Welcome"
        async with tornadio.connect(resource, cookies=dict(browser.cookies)) as tab:
            await tab.send("hello")
            assert await tab.recv() == "ann: hello"
            assert (await browser.post("/announce", data={"text": "tea"})).text == "Said"
            assert await tab.recv() == {"announcement": "tea"}
            assert (await browser.get("/nothing")).status_code == 404
    assert server.terminate() == 0
