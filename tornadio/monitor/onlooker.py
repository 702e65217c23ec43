"""The connection of a page that looks on. The page sends JSON objects, and gets some:

- ``{"type": "page", "number": N, "router": R, "process": P, "sort": COLUMN, ...}`` asks for a page of the table, with
  what :func:`tornadio.monitor.table.parse_query` takes,
- ``{"type": "groups", "number": N, "router": R, "text": T, "limit": L}`` asks for groups,
- ``{"type": "act", "number": N, "router": R, "process": P, "action": "close" or "send", "id": ID, "handle": HANDLE,
  "message": M}`` closes a connection, or sends it a message.

The answer has the type ``answer`` and the number. By themselves come ``welcome``, ``history``, and a ``sample`` of each
router and process every two seconds.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tornado.httputil import HTTPServerRequest

from tornadio.conn import SocketConnection
from tornadio.errors import ProtocolError
from tornadio.logs import get_logger

if TYPE_CHECKING:
    from tornadio.monitor.monitor import Admission, Monitor

logger = get_logger(__name__)

# Seconds between two questions for the table or the groups: each may take some hundredths of one of every process.
_PAUSE: Final = 0.1


class Onlooker(SocketConnection):
    """A page that looks on.

    :cvar monitor: the monitor, in a subclass that it makes.
    """

    monitor: "Monitor"
    _admission: "Admission"
    _address = ""
    _next_question = 0.0  # not before, in time.monotonic()

    @property
    def rights(self) -> str:
        """What this onlooker could do when it connected."""
        return self._admission.rights

    def on_open(self, request: HTTPServerRequest, *args: Any, **kwargs: Any) -> Any:
        admission = self.monitor.take_admission(request)
        if admission is None:
            return False
        self._admission, self._request = admission, request
        self._address = str(request.remote_ip)
        return self.monitor.enter(self)

    async def on_message(self, message: Any) -> None:
        match message:
            case {"type": str(kind), "number": int(number)}:
                pass
            case _:
                logger.warning("monitor: what %s sent is no question", self._address)
                self.close(1008)
                return
        try:
            answer = await self._answer(kind, message)
        except ProtocolError as error:
            answer = {"error": str(error)}
        self.send({"type": "answer", "number": number, **answer})

    async def _answer(self, kind: str, message: Mapping[str, Any]) -> dict[str, Any]:
        if kind in ("page", "groups"):
            if (wait := self._next_question - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self._next_question = time.monotonic() + _PAUSE
        match kind:
            case "page":
                return await self.monitor.page(message)
            case "groups":
                return await self.monitor.groups(message)
            case "act":
                who = await self._admission.may_act(self._request)
                if who is None:
                    logger.warning("monitor: refused an action of %s, who may not act", self._address)
                    return {"done": False, "text": "You may not do this."}
                return await self.monitor.act(message, who)
        raise ProtocolError("no question")

    def on_close(self) -> None:
        self.monitor.leave(self)
