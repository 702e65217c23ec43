'use strict';

// Socket.IO 4, over WebSocket.

const http = require('node:http');
const { parseArgs } = require('node:util');
const { Server } = require('socket.io');

const { values } = parseArgs({ options: { port: { type: 'string' } } });
const server = http.createServer();
const io = new Server(server, { transports: ['websocket'], cors: { origin: '*' }, pingInterval: 12000 });

io.on('connection', (socket) => {
  socket.on('message', (message) => {
    if (message.startsWith('b:')) io.send(message.slice(2));
    else socket.send(message);
  });
});

server.listen({ host: '127.0.0.1', port: values.port, backlog: 4096 });
