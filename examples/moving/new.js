// The page of Socket.IO 4: an event for each kind of message, and an acknowledgement for what it has said.

import { io } from './client/socket.io.esm.min.js';
import { joined, left, name, onWritten, said, showState } from './room.js';

// WebSocket alone: the requests of a polling client would all have to reach the process that has its session.
const socket = io({ auth: { name }, transports: ['websocket'] });

socket.on('connect', () => showState('on', 'Connected'));
socket.on('joined', joined);
socket.on('left', left);
socket.on('said', said);
socket.on('disconnect', () => showState('busy', 'Connection lost'));
socket.on('connect_error', (error) => showState('off', error.message));
onWritten(async (text) => {
  try {
    await socket.timeout(10_000).emitWithAck('say', text);
  } catch {
    showState('busy', 'A message was perhaps not said');
  }
});
