import hmac
import secrets
from pathlib import Path

import tornadio
import tornado.web

HERE = Path(__file__).resolve().parent
PASSWORD = "open sesame"
SECRET = secrets.token_hex()  # signs the cookies: another one at each start


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
            self.render("page.html", name=name)


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
    def on_open(self, request, *args, **kwargs):
        self.name = name_of(request)
        if self.name is None:
            return False
        self.send(f"Welcome, {self.name}!")
        self.broadcast(f"{self.name} has come.")
        return True

    def on_message(self, message):
        router.broadcast(f"{self.name}: {message}")

    def on_close(self):
        if self.name is not None:
            router.broadcast(f"{self.name} has left.")


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
