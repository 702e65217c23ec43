"""The connection and its router."""

import tornadio
import tornadio.conn
import tornadio.router


class BasketConnection(tornadio.conn.SocketConnection):
    baskets = {}

    def on_open(self, request, *args, **kwargs):
        self.basket = self.baskets.setdefault(request.remote_ip, [])

    def on_message(self, message):
        self.basket.append(message["item"])
        self.send({"items": len(self.basket)})


BasketRouter = tornadio.router.get_router(BasketConnection, resource="socket.io")
