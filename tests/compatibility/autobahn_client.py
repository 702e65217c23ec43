"""Autobahn 0.10.9, which speaks draft-76, as a program run by Python 2.7: see Program in websocket_clients.py."""

# mypy: ignore-errors

import json
import re
import sys

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from twisted.internet import reactor, stdio
from twisted.protocols.basic import LineReceiver


class Commands(LineReceiver):
    """Standard input and output."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 24
    client = None

    def report(self, *event):
        self.sendLine(json.dumps(event))

    def lineReceived(self, line):
        command = json.loads(line)
        if command[0] == "send":
            self.client.sendMessage(command[1].encode("utf-8"))
        else:
            self.client.sendClose()

    def connectionLost(self, reason):
        reactor.stop()


class Client(WebSocketClientProtocol):
    def onOpen(self):
        commands.client = self
        commands.report("open")

    def onMessage(self, payload, isBinary):
        commands.report("message", payload.decode("utf-8"))

    def onClose(self, wasClean, code, reason):
        refused = re.search(r"upgrade failed \((\d+)", reason or "")
        if refused:
            commands.report("refused", int(refused.group(1)))
        else:
            commands.report("closed", None if wasClean else reason)
        commands.transport.loseConnection()


url, version, origin = sys.argv[1:]
assert version == "76"
factory = WebSocketClientFactory(url, origin=origin or None)
factory.protocol = Client
factory.setProtocolOptions(version=0, allowHixie76=True)
commands = Commands()
stdio.StandardIO(commands)
connectWS(factory)
reactor.run()
