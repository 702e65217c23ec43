'use strict';

// What Socket.IO-node 0.6 expects of Node and today's Node has no more: `util` among the natives, and EventEmitter as a
// property of `process`.

const { EventEmitter } = require('node:events');

const binding = process.binding.bind(process);
process.binding = (name) => (name === 'natives' ? { util: true } : binding(name));
process.EventEmitter = EventEmitter;
