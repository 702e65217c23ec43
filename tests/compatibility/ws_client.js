// Node's ws as a program: see Program in websocket_clients.py.
'use strict';

const readline = require('node:readline');
const WebSocket = require('ws');

const [url, version, origin] = process.argv.slice(2);
const options = {protocolVersion: Number(version), maxPayload: 0};
if (origin) {
  options.origin = origin;
}
const socket = new WebSocket(url, options);

function report(...event) {
  process.stdout.write(JSON.stringify(event) + '\n');
}

socket.on('open', () => report('open'));
socket.on('message', (data, isBinary) => report(isBinary ? 'binary message' : 'message', data.toString()));
socket.on('close', code => report('closed', code));
socket.on('unexpected-response', (request, response) => report('refused', response.statusCode));

readline.createInterface({input: process.stdin}).on('line', line => {
  const [command, argument] = JSON.parse(line);
  if (command === 'send') {
    socket.send(argument);
  } else if (command === 'send binary') {
    socket.send(Buffer.from(argument, 'base64'));
  } else {
    socket.close(1000);
  }
});
