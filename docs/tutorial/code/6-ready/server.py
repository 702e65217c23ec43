import asyncio
import hmac
import logging
import os
from collections import deque
from pathlib import Path

import tornadio
import tornado.web
from tornado.ioloop import IOLoop

HERE = Path(__file__).resolve().parent
PASSWORD = os.environ["CHAT_PASSWORD"]
OPERATOR_PASSWORD = os.environ["CHAT_OPERATOR_PASSWORD"]
SECRET = os.environ["CHAT_SECRET"]  # signs the cookies
ORIGIN = os.environ.get("CHAT_ORIGIN", "http://localhost:8001")
PORT = int(os.environ.get("PORT", "8001"))
SETTINGS = {
    "enabled_protocols": ["websocket", "xhr-polling"],
    "origins": [ORIGIN],
    "max_message_size": 16_000,  # bytes, as the next two
    "max_payload_size": 100_000,
    "max_send_buffer": 1_000_000,
    "max_sessions": 5_000,
    "max_sessions_per_address": 100,
}
ROOMS = ("Kitchen", "Garden", "Attic")
LONGEST_TEXT = 1000  # characters
LONGEST_SILENCE = 600  # seconds
PAUSE = float(os.environ.get("CHAT_PAUSE", "0.2"))  # seconds after a message
said = {room: deque(maxlen=50) for room in ROOMS}  # the last messages of each room


def name_of(request):
    """The name in a request's cookie; None without a cookie, or with a wrong one."""
    cookie = request.cookies.get("name")
    if cookie is None:
        return None
    name = tornado.web.decode_signed_value(SECRET, "name", cookie.value)
    return name.decode() if name else None


def is_same(password, right):
    return hmac.compare_digest(password.encode(), right.encode())


def may_look(handler):
    """What somebody may do on the live page: an operator all, others nothing."""
    return "act" if handler.get_signed_cookie("operator", max_age_days=1) else None


class Handler(tornado.web.RequestHandler):
    def set_default_headers(self):
        policy = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
        self.set_header("Content-Security-Policy", policy)


class Monitor(tornadio.MonitorHandler):
    def get_current_user(self):
        return name_of(self.request)


class Page(Handler):
    def get(self):
        name = name_of(self.request)
        if name is None:
            self.redirect("/login")
        else:
            self.render("page.html", name=name, rooms=ROOMS)


class Login(Handler):
    def get(self):
        self.render("login.html", problem="")

    def post(self):
        name = self.get_body_argument("name")
        password = self.get_body_argument("password")
        is_operator = is_same(password, OPERATOR_PASSWORD)
        if not 0 < len(name) <= 20:
            self.refuse("A name has 1 to 20 characters.")
        elif not is_operator and not is_same(password, PASSWORD):
            logging.warning("A wrong password, from %s", self.request.remote_ip)
            self.refuse("This is not the password.")
        else:
            self.give_cookie("name", name)
            if is_operator:
                self.give_cookie("operator", "yes")
            self.redirect("/")

    def give_cookie(self, name, value):
        is_secure = ORIGIN.startswith("https:")
        self.set_signed_cookie(
            name, value, httponly=True, samesite="Lax", secure=is_secure
        )

    def refuse(self, problem):
        self.set_status(403)
        self.render("login.html", problem=problem)


class Logout(Handler):
    def post(self):
        self.clear_cookie("name")
        self.clear_cookie("operator")
        self.redirect("/login")


class Chat(tornadio.SocketConnection):
    room = None  # the group of those who are in the same room
    timer = None  # it runs while somebody is in a room

    def on_open(self, request, *args, **kwargs):
        self.name = name_of(request)
        if self.name is None:
            return False
        logging.info("%s has come: %r of %s", self.name, self, request.remote_ip)
        return True

    async def on_message(self, message):
        match message:
            case {"type": "enter", "room": str(name)} if name in ROOMS:
                self.leave()
                self.enter(router.group(name))
            case {"type": "leave"}:
                self.leave()
            case {"type": "say", "text": str(text)} if self.accepts(text):
                self.say(text)
            case _:
                self.send({"type": "problem", "text": "This makes no sense."})
        await asyncio.sleep(PAUSE)

    def on_close(self):
        self.leave()

    def enter(self, room):
        self.room = room
        room.add(self)
        self.restart_timer()
        self.send({"type": "entered", "room": room.name, "said": list(said[room.name])})
        tell_people(room)

    def leave(self):
        if self.room is not None:
            room, self.room = self.room, None
            room.discard(self)
            IOLoop.current().remove_timeout(self.timer)
            self.send({"type": "left"})
            tell_people(room)

    def accepts(self, text):
        return self.room is not None and text.strip() and len(text) <= LONGEST_TEXT

    def say(self, text):
        message = {"type": "said", "name": self.name, "text": text}
        said[self.room.name].append(message)
        self.room.send(message)
        self.restart_timer()

    def restart_timer(self):
        if self.timer is not None:
            IOLoop.current().remove_timeout(self.timer)
        self.timer = IOLoop.current().call_later(LONGEST_SILENCE, self.leave)


def tell_people(room):
    """Tell everybody in a room who is there."""
    room.send({"type": "people", "names": sorted({member.name for member in room})})


router = tornadio.get_router(Chat, SETTINGS)
application = tornado.web.Application(
    [
        (r"/", Page),
        (r"/login", Login),
        (r"/logout", Logout),
        (r"/health", tornadio.HealthHandler),
        (r"/metrics", tornadio.MetricsHandler),
        (r"/monitor/(.*)", Monitor, {"authorize": may_look}),
        router.route(),
    ],
    socket_io_port=PORT,
    socket_io_address="127.0.0.1",
    static_path=HERE / "static",
    cookie_secret=SECRET,
    xsrf_cookies=True,
)

if __name__ == "__main__":
    log_format = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=log_format)
    logging.info("Open %s/, end the server with Ctrl-C", ORIGIN)
    tornadio.SocketServer(application)
