import hmac
import secrets
from collections import deque
from pathlib import Path

import tornadio
import tornado.web
from tornado.ioloop import IOLoop

HERE = Path(__file__).resolve().parent
PASSWORD = "open sesame"
SECRET = secrets.token_hex()  # signs the cookies: another one at each start
ROOMS = ("Kitchen", "Garden", "Attic")
LONGEST_TEXT = 1000  # characters
LONGEST_SILENCE = 600  # seconds
said = {room: deque(maxlen=50) for room in ROOMS}  # the last messages of each room


def name_of(request):
    """The name in a request's cookie; None without a cookie, or with a wrong one."""
    cookie = request.cookies.get("name")
    if cookie is None:
        return None
    name = tornado.web.decode_signed_value(SECRET, "name", cookie.value)
    return name.decode() if name else None


class Page(tornado.web.RequestHandler):
    def get(self):
        name = name_of(self.request)
        if name is None:
            self.redirect("/login")
        else:
            self.render("page.html", name=name, rooms=ROOMS)


class Login(tornado.web.RequestHandler):
    def get(self):
        self.render("login.html", problem="")

    def post(self):
        name = self.get_body_argument("name")
        password = self.get_body_argument("password")
        if not 0 < len(name) <= 20:
            self.refuse("A name has 1 to 20 characters.")
        elif not hmac.compare_digest(password.encode(), PASSWORD.encode()):
            self.refuse("This is not the password.")
        else:
            self.set_signed_cookie("name", name, httponly=True, samesite="Lax")
            self.redirect("/")

    def refuse(self, problem):
        self.set_status(403)
        self.render("login.html", problem=problem)


class Logout(tornado.web.RequestHandler):
    def post(self):
        self.clear_cookie("name")
        self.redirect("/login")


class Chat(tornadio.SocketConnection):
    room = None  # the group of those who are in the same room
    timer = None  # it runs while somebody is in a room

    def on_open(self, request, *args, **kwargs):
        self.name = name_of(request)
        return self.name is not None

    def on_message(self, message):
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


router = tornadio.get_router(Chat)
application = tornado.web.Application(
    [(r"/", Page), (r"/login", Login), (r"/logout", Logout), router.route()],
    socket_io_port=8001,
    static_path=HERE / "static",
    cookie_secret=SECRET,
    xsrf_cookies=True,
)

if __name__ == "__main__":
    print("Open http://localhost:8001/, end the server with Ctrl-C")
    tornadio.SocketServer(application)
