'use strict';

// The official server, Socket.IO-node, behind an application that echoes. Some texts are commands. Its page holds the
// client that is TornadIO's own.
//
//     node --require ./node_preload.js official_server.js --port=N NODE_MODULES

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { parseArgs } = require('node:util');

const { values, positionals: [modules] } = parseArgs({ options: { port: { type: 'string' } }, allowPositionals: true });
const io = require(path.join(modules, 'socket.io'));

const FILES = {
  '/': ['text/html', '<!DOCTYPE html><link rel="icon" href="data:,"><script src="/client.js"></script>'],
  '/client.js': ['text/javascript', fs.readFileSync(path.join(__dirname, '../../tornadio/static/socket.io.js'))],
};

const server = http.createServer((request, response) => {
  const [type, body] = FILES[request.url];
  response.writeHead(200, { 'Content-Type': type });
  response.end(body);
});

// A browser repeats a request by itself when a connection that it used before closes without an answer. That is all that
// the official server does to close a poll, so with connections used again the page would never notice.
server.maxRequestsPerSocket = 1;

// Shorter than the defaults, for a test that waits for some of them.
const streaming = { heartbeatInterval: 1000 };
const polling = { duration: 1000 };

const listener = io.listen(server, {
  flashPolicyServer: false,
  log: console.log,
  transportOptions: {
    'xhr-multipart': streaming, htmlfile: streaming, 'xhr-polling': polling, 'jsonp-polling': polling,
  },
});

listener.on('connection', (client) => {
  client.on('message', (message) => {
    if (message === 'burst') {
      ['one', { two: 2 }, 'é中😀', 'four'].forEach((each) => client.send(each));
    } else if (message === 'close') {
      client.connection.end();
    } else {
      client.send(message);
    }
  });
});

server.listen(values.port);
