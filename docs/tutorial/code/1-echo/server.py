import tornadio
import tornado.web


class Page(tornado.web.RequestHandler):
    def get(self):
        self.render("page.html")


class Echo(tornadio.SocketConnection):
    def on_message(self, message):
        self.send(f"The server has heard: {message}")


router = tornadio.get_router(Echo)
application = tornado.web.Application(
    [(r"/", Page), router.route()], socket_io_port=8001
)

if __name__ == "__main__":
    print("Open http://localhost:8001/, end the server with Ctrl-C")
    tornadio.SocketServer(application)
