"""The client: asyncio connections to Socket.IO 0.6 servers, by each transport that needs no browser.

:func:`tornadio.connect` is the public name (:mod:`tornadio.client.connect`). It stands on Tornado's public parts
``IOStream`` and ``HTTP1Connection``, and on the server's own :mod:`tornadio.net.wire` and
:mod:`tornadio.websocket.rfc6455`, rather than on ``websocket_connect`` and ``AsyncHTTPClient``: these know no proxies
(without pycurl), open a connection for each request, buffer a stream's response or pass it on without backpressure,
drop the text of a refused upgrade, and are slower for each message.
"""
