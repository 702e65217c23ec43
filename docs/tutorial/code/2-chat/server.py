from pathlib import Path

import tornadio
import tornado.web

HERE = Path(__file__).resolve().parent


class Page(tornado.web.RequestHandler):
    def get(self):
        self.render("page.html")


class Chat(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        self.send(f"Welcome! Others here: {len(router.connections)}")
        self.broadcast("Somebody has come.")

    def on_message(self, message):
        router.broadcast(message)

    def on_close(self):
        router.broadcast(f"Somebody has left. Still here: {len(router.connections)}")


router = tornadio.get_router(Chat)
application = tornado.web.Application(
    [(r"/", Page), router.route()],
    socket_io_port=8001,
    static_path=HERE / "static",
)

if __name__ == "__main__":
    print("Open http://localhost:8001/, end the server with Ctrl-C")
    tornadio.SocketServer(application)
