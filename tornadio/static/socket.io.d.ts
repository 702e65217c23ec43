/**
 * TypeScript declarations of TornadIO's browser client for Socket.IO 0.6 servers, `socket.io.js`, which makes the
 * global `io`. `socket.io.d.mts` has the same for the ES module, `socket.io.mjs`.
 */

declare namespace io {
  type TransportType = 'websocket' | 'xhr-multipart' | 'xhr-polling' | 'jsonp-polling' | 'htmlfile';

  /** What can be given to a socket. Of `undefined` and `null` the default holds. */
  interface SocketOptions {
    /** By default the page's. */
    port?: number | string | null | undefined;
    /** Whether to use TLS; by default whether the page does. */
    secure?: boolean | null | undefined;
    /** `'socket.io'` by default, or one with extra parameters such as `'chat/123'`. */
    resource?: string | null | undefined;
    /** Those to try, in this order; what can't work here is left out, `flashsocket` always. Where other tabs have all
     *  streams that a browser has connections for, the others are tried instead of one, and in the end `xhr-polling`,
     *  even if it is not named. */
    transports?: readonly (TransportType | 'flashsocket')[] | null | undefined;
    /** By type: `{ websocket: { timeout: 30000 } }`. */
    transportOptions?: { readonly [type in TransportType]?: TransportOptions } | null | undefined;
    /** Milliseconds of silence after which a transport is dead, 15000 by default; polls get longer. */
    timeout?: number | null | undefined;
    /** Milliseconds that each transport has to connect, 5000 by default. */
    connectTimeout?: number | null | undefined;
    /** Whether to try the next transport when one does not connect; `true` by default. */
    tryTransportsOnConnectTimeout?: boolean | null | undefined;
    /** Whether to reconnect after a disconnect that the page did not ask for; `true` by default. */
    reconnect?: boolean | null | undefined;
    /** Milliseconds before the first attempt to reconnect, 500 by default; they double with each, and each time
     *  it is between half of that and all of it. */
    reconnectionDelay?: number | null | undefined;
    /** 10 by default. */
    maxReconnectionAttempts?: number | null | undefined;
    /** Whether to keep the transport that has worked in the cookie `socketio`, to try it first next time; `true` by
     *  default. */
    rememberTransport?: boolean | null | undefined;
    /** Called for each connection: returns what is sent over it before all else, such as a token, in the form that `send`
     *  takes, or a promise of that; nothing for `undefined` and `null`. */
    firstMessage?: (() => unknown) | false | null | undefined;
  }

  interface TransportOptions {
    timeout?: number;
  }

  /** What a socket makes of its options: each that has a default is there. */
  interface ResolvedOptions {
    port: number | string;
    secure: boolean;
    resource: string;
    transports: readonly (TransportType | 'flashsocket')[];
    transportOptions: { readonly [type in TransportType]?: TransportOptions };
    timeout: number;
    connectTimeout: number;
    tryTransportsOnConnectTimeout: boolean;
    reconnect: boolean;
    reconnectionDelay: number;
    maxReconnectionAttempts: number;
    rememberTransport: boolean;
    firstMessage: (() => unknown) | false | null;
  }

  interface Transport {
    readonly type: TransportType;
    /** The session's id, `null` until the server has given one. */
    readonly sessionid: string | null;
  }

  /** Each event with the arguments of its listeners. */
  interface SocketEvents<Incoming = unknown> {
    connect: [];
    message: [message: Incoming];
    disconnect: [];
    /** A transport is tried. */
    connecting: [type: TransportType];
    /** No transport got through: the status and the text of the last refusal, where a page can see them. */
    connect_failed: [status?: number, text?: string];
    /** The next attempt begins after `delay` milliseconds. */
    reconnecting: [delay: number, attempts: number];
    reconnect: [type: TransportType, attempts: number];
    /** As `connect_failed`. */
    reconnect_failed: [status?: number, text?: string];
  }

  type Listener<Name extends keyof SocketEvents, Incoming = unknown, Outgoing = unknown> = (
    this: Socket<Incoming, Outgoing>,
    ...args: SocketEvents<Incoming>[Name]
  ) => void;

  /**
   * What a page holds: messages both ways and events, over one transport after another.
   *
   * @typeParam Incoming  what the server sends; nothing checks that it does
   * @typeParam Outgoing  what the page may send
   */
  class Socket<Incoming = unknown, Outgoing = unknown> {
    /** @param host  a name or an address, without scheme and port; by default the page's */
    constructor(host?: string | null, options?: SocketOptions | null);

    readonly host: string;
    readonly options: ResolvedOptions;
    readonly connected: boolean;
    /** While an attempt is under way. */
    readonly connecting: boolean;
    /** From an unwanted disconnect until `reconnect` or `reconnect_failed`. */
    readonly reconnecting: boolean;
    /** The present one, the last one, or the one to be tried; `null` if none can work here. */
    readonly transport: Transport | null;

    /** Connects; while waiting for a reconnection, connects now. */
    connect(): this;
    /** Sends text, anything that JSON can hold, or each element of an array; waits for `connect` if need be. */
    send(message: Outgoing | readonly Outgoing[]): this;
    /** Ends the connection and all attempts at one. What was sent before still goes out if it was connected. */
    disconnect(): this;

    on<Name extends keyof SocketEvents>(name: Name, listener: Listener<Name, Incoming, Outgoing>): this;
    once<Name extends keyof SocketEvents>(name: Name, listener: Listener<Name, Incoming, Outgoing>): this;
    removeEvent<Name extends keyof SocketEvents>(name: Name, listener: Listener<Name, Incoming, Outgoing>): this;
    /** The same as `on`. */
    addEvent<Name extends keyof SocketEvents>(name: Name, listener: Listener<Name, Incoming, Outgoing>): this;
    /** The same as `on`. */
    addListener<Name extends keyof SocketEvents>(name: Name, listener: Listener<Name, Incoming, Outgoing>): this;
  }

  /** For the scripts of `jsonp-polling`: the transports that they call, by their index. */
  const JSONP: { _(payload: string): void }[];
}

interface Window {
  io: typeof io;
}
