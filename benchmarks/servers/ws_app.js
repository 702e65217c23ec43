'use strict';

// ws, the WebSocket of most of Node.

const { parseArgs } = require('node:util');
const { WebSocketServer } = require('ws');

const { values } = parseArgs({ options: { port: { type: 'string' } } });
const server = new WebSocketServer({ host: '127.0.0.1', port: Number(values.port), backlog: 4096 });

server.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data) => {
    const message = data.toString();
    if (message.startsWith('b:')) {
      for (const participant of server.clients) participant.send(message.slice(2));
    } else {
      socket.send(message);
    }
  });
});
