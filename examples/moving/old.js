// The page of Socket.IO 0.6: one kind of message, objects that say by themselves what they are.

import { joined, left, name, onWritten, said, showState } from './room.js';

// What was written without a connection waits, and would come before a "join" that is sent in the listener below.
const socket = new io.Socket(location.hostname, {
  maxReconnectionAttempts: Infinity,
  firstMessage: () => ({ type: 'join', name }),
});

socket.on('connect', () => showState('on', 'Connected'));
socket.on('message', (message) => {
  switch (message.type) {
    case 'joined': joined(message); break;
    case 'left': left(message); break;
    case 'said': said(message); break;
  }
});
socket.on('disconnect', () => showState('busy', 'Connection lost'));
onWritten((text) => socket.send({ type: 'say', text }));
socket.connect();
