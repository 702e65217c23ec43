'use strict';

// Socket.IO-node 0.6.18, the official server of this protocol, on today's Node: with what it expects of Node 0.4.

const { EventEmitter } = require('node:events');
const http = require('node:http');
const net = require('node:net');
const { parseArgs } = require('node:util');

process.EventEmitter = EventEmitter;
const io = require('socket.io-06');

const { values } = parseArgs({ options: { port: { type: 'string' } } });
const server = http.createServer((request, response) => {
  response.writeHead(404);
  response.end();
});
server.keepAliveTimeout = 60000;
// Today's upgraded sockets refuse setEncoding, which it calls.
server.on('upgrade', (request, socket) => { socket.setEncoding = net.Socket.prototype.setEncoding; });
server.listen({ host: '127.0.0.1', port: values.port, backlog: 4096 });

const listener = io.listen(server, {
  transports: ['websocket', 'xhr-polling', 'xhr-multipart', 'htmlfile'],
  flashPolicyServer: false,
  log: null,
});

listener.on('connection', (client) => {
  client.on('message', (message) => {
    if (message.startsWith('b:')) listener.broadcast(message.slice(2));
    else client.send(message);
  });
});
