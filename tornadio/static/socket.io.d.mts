/** TypeScript declarations of TornadIO's browser client as an ES module, `socket.io.mjs`. It makes the global `io`, too. */

/// <reference path="./socket.io.d.ts" />

export default io;
export import Socket = io.Socket;
export import SocketOptions = io.SocketOptions;
export import ResolvedOptions = io.ResolvedOptions;
export import SocketEvents = io.SocketEvents;
export import Listener = io.Listener;
export import Transport = io.Transport;
export import TransportOptions = io.TransportOptions;
export import TransportType = io.TransportType;
