/**
 * A browser client for Socket.IO 0.6 servers, part of TornadIO.
 *
 *     const socket = new io.Socket(location.hostname, { port: 8001 });
 *     socket.on('connect', () => socket.send('hello'));
 *     socket.on('message', (message) => console.log(message));
 *     socket.connect();
 *
 * Its interface is that of the official 0.6 client, so a page written for that one runs unchanged. Reads from the top:
 * the protocol's frames, what all transports share, the five transports, the socket that a page sees, the global `io`.
 */
(() => {
  'use strict';

  /** What serves people best comes first. A WebSocket costs the least. A stream needs a POST for each batch sent; where
   *  a proxy holds the stream back, the polls after it get through. JSONP is for servers that other origins may not fetch
   *  from. htmlfile is last: it streams, too, but with a detour through the parser of HTML. */
  const DEFAULT_ORDER = ['websocket', 'xhr-multipart', 'xhr-polling', 'jsonp-polling', 'htmlfile'];

  const DEFAULTS = {
    resource: 'socket.io',
    transports: DEFAULT_ORDER,
    transportOptions: {},
    timeout: 15000,
    connectTimeout: 5000,
    tryTransportsOnConnectTimeout: true,
    reconnect: true,
    reconnectionDelay: 500,
    maxReconnectionAttempts: 10,
    rememberTransport: true,
  };

  /** Delays stop doubling here: a page that never gives up stays polite, and setTimeout has its own limit. */
  const LONGEST_RECONNECTION_DELAY = 600000;

  /** From this reconnection attempt on all transports are tried. Before, only the one that worked: while a server
   *  restarts all fail, and the first to find it up again should be no lesser one. */
  const FALLBACK_ATTEMPT = 3;

  /** So many milliseconds an HTTP request may take beyond the timeout: servers end quiet polls after 20 seconds or so, and
   *  a long POST takes its time on a slow line. */
  const LONGEST_REQUEST = 45000;

  /** UTF-16 units of queued frames that travel in one payload. Servers limit payloads, TornadIO to 1 MiB by default, and
   *  a unit is at most three bytes of UTF-8. A longer single frame travels alone. */
  const BATCH_UNITS = 256 * 1024;

  // -- Frames: ~m~LENGTH~m~TEXT, the length in UTF-16 units -----------------------------------------------------------

  /** Turns a message into a frame. Text that would be read as a heartbeat or as JSON travels as a JSON string. */
  function encode(message) {
    const isText = typeof message === 'string' && !/^~[hj]~/.test(message);
    return frame(isText ? message : '~j~' + json(message));
  }

  /** JSON.stringify escapes unmatched surrogates, which many readers refuse. The pattern meets every escape: a backslash
   *  that is escaped itself begins none. */
  function json(message) {
    return (JSON.stringify(message) ?? 'null').replace(
      /\\(?:ud[89ab]..\\ud[c-f]..|(ud[89a-f]..)|.)/gi,
      (escape, unmatched) => (unmatched ? '\uFFFD' : escape),
    );
  }

  /** In unicode mode the pattern meets unmatched surrogates only; they have no UTF-8, encodeURIComponent throws. */
  function frame(text) {
    const wellFormed = text.replace(/[\uD800-\uDFFF]/gu, '\uFFFD');
    return `~m~${wellFormed.length}~m~${wellFormed}`;
  }

  /** Yields the text of each frame of a payload; throws a SyntaxError at the first that is malformed. */
  function* decode(payload) {
    const head = /~m~(\d+)~m~/y;
    let start = 0;
    while (start < payload.length) {
      head.lastIndex = start;
      const match = head.exec(payload);
      const end = match ? head.lastIndex + Number(match[1]) : Infinity;
      if (end > payload.length) {
        throw new SyntaxError(`malformed frame at ${start}`);
      }
      yield payload.slice(head.lastIndex, end);
      start = end;
    }
  }

  // -- What all transports share --------------------------------------------------------------------------------------

  /**
   * One connection or the attempt at one: it opens once, ends once and is never used again.
   *
   * A subclass has `open()`, `write(payload)` and `release()`, hands what arrives to `receive` and calls `fail` when the
   * connection broke. The owner is told of `onConnect()`, `onMessage(message)` and `onClose()`; of the last once and only
   * for an end that it did not ask for.
   */
  class Transport {
    /** How much longer than its timeout it may be silent. */
    static patience = 0;

    /** Whether this transport can be used here, with a server at that URL. */
    static available(url) {
      return true;
    }

    constructor(url, timeout, queue, owner) {
      this.type = this.constructor.type;
      this.sessionid = null;
      this.baseUrl = `${url}/${this.type}`;
      this.timeout = timeout;
      this.queue = queue;
      this.owner = owner;
      this.echoes = [];
      this.ended = false;
      this.closed = false;
    }

    /** Whether `write` may be called now. What it is given counts as sent and is never given again. */
    get writable() {
      return this.sessionid !== null && !this.closed;
    }

    /** Writes what is queued, now or, when a write is under way, as soon as that is done. */
    flush() {
      while (this.writable && this.echoes.length + this.queue.length > 0) {
        this.write(this.echoes.splice(0).join('') + this.takeBatch());
      }
    }

    takeBatch() {
      let count = 0;
      for (let units = 0; count < this.queue.length; count += 1) {
        units += this.queue[count].length;
        if (count > 0 && units > BATCH_UNITS) {
          break;
        }
      }
      return this.queue.splice(0, count).join('');
    }

    /** Takes a payload that arrived, an empty one too: it is a sign of life. */
    receive(payload) {
      if (this.ended) {
        return;
      }
      this.watchSilence();
      try {
        for (const text of decode(payload)) {
          this.receiveFrame(text);
          if (this.ended) {
            return;
          }
        }
      } catch {
        this.fail();
      }
    }

    receiveFrame(text) {
      if (this.sessionid === null) {
        this.sessionid = text;
        this.owner.onConnect();
      } else if (text.startsWith('~h~')) {
        this.echoes.push(frame(text));
        this.flush();
      } else {
        this.owner.onMessage(text.startsWith('~j~') ? JSON.parse(text.slice(3)) : text);
      }
    }

    watchSilence() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.fail(), this.timeout + this.constructor.patience);
    }

    /** The connection broke, or the server broke the protocol. */
    fail() {
      const unwanted = !this.ended;
      this.stop();
      if (unwanted) {
        this.owner.onClose();
      }
    }

    /** Ends the connection as its owner wishes: nothing comes in any more, what is queued still goes out. */
    close() {
      if (this.ended) {
        return;
      }
      this.ended = true;
      this.watchSilence();
      this.flush();
      this.stopIfDone();
    }

    stopIfDone() {
      this.stop();
    }

    /** Ends everything at once, silently. */
    stop() {
      if (!this.closed) {
        this.ended = true;
        this.closed = true;
        clearTimeout(this.timer);
        this.release();
      }
    }
  }

  let lastStamp = 0;

  /** The time in milliseconds, but never twice the same: it keeps caches from answering a request. */
  function stamp() {
    lastStamp = Math.max(Date.now(), lastStamp + 1);
    return lastStamp;
  }

  /** A transport that writes by POST, one at a time; what is queued meanwhile is the next one's batch. */
  class PostingTransport extends Transport {
    posting = false;
    aborter = new AbortController();

    open() {
      this.read().then(this.onReadEnd, this.onReadEnd);
    }

    /** Nothing more can be read. If that is not unexpected, the last POST may still be under way. */
    onReadEnd = () => {
      if (!this.ended) {
        this.fail();
      }
    };

    /** Where to GET a new session or, when there is one, to read from it. */
    get readUrl() {
      return `${this.baseUrl}/${encodeURIComponent(this.sessionid ?? '')}/${stamp()}`;
    }

    get postUrl() {
      return `${this.baseUrl}/${encodeURIComponent(this.sessionid)}/send`;
    }

    /** Cookies travel to other ports and hosts, too, and the server may always learn which origin is asking. */
    async request(url, options) {
      const response = await fetch(url, {
        cache: 'no-store',
        credentials: 'include',
        referrerPolicy: 'origin',
        signal: this.aborter.signal,
        ...options,
      });
      if (response.status !== 200 && response.type !== 'opaque') {
        throw new Error(`status ${response.status}`);
      }
      return response;
    }

    get writable() {
      return super.writable && !this.posting;
    }

    /** A POST that failed may have arrived all the same, so it ends the connection and is not sent again. */
    async write(payload) {
      this.posting = true;
      const limit = setTimeout(() => this.fail(), this.timeout + LONGEST_REQUEST);
      try {
        const response = await this.request(this.postUrl, {
          method: 'POST',
          mode: this.postMode,
          headers: { 'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8' },
          body: 'data=' + encodeURIComponent(payload),
        });
        await response.text();
      } catch {
        this.fail();
      }
      clearTimeout(limit);
      this.posting = false;
      this.flush();
      if (this.ended) {
        this.stopIfDone();
      }
    }

    get postMode() {
      return 'cors';
    }

    /** A stream has to outlive the last POST: a server ends the session with it. */
    stopIfDone() {
      if (!this.posting) {
        this.stop();
      }
    }

    release() {
      this.aborter.abort();
      this.frame?.remove();
    }
  }

  /** An empty frame with a window of its own, for scripts that need globals and for requests that end with the frame.
   *  Opening its document gives it the page's URL, and with it a Referer, which servers ask for. */
  function createHiddenFrame(parentDocument) {
    const element = parentDocument.createElement('iframe');
    element.style.display = 'none';
    parentDocument.body.append(element);
    element.contentDocument.open();
    element.contentDocument.write('<!DOCTYPE html><body>');
    element.contentDocument.close();
    return element;
  }

  // -- The transports -------------------------------------------------------------------------------------------------

  class WebSocketTransport extends Transport {
    static type = 'websocket';

    static available() {
      return typeof WebSocket === 'function';
    }

    open() {
      this.native = new WebSocket(this.baseUrl.replace(/^http/, 'ws'));
      this.native.onmessage = (event) => {
        if (typeof event.data === 'string') {
          this.receive(event.data);
        } else {
          this.fail();
        }
      };
      this.native.onclose = () => this.fail();
    }

    /** A socket that is closing already would swallow messages; they stay queued for the next connection. */
    get writable() {
      return super.writable && this.native.readyState === WebSocket.OPEN;
    }

    write(payload) {
      this.native.send(payload);
    }

    release() {
      this.native?.close();
    }
  }

  class XhrPolling extends PostingTransport {
    static type = 'xhr-polling';
    static patience = LONGEST_REQUEST;

    async read() {
      do {
        const response = await this.request(this.readUrl);
        this.receive(await response.text());
      } while (this.sessionid !== null && !this.ended);
    }
  }

  /** Reads one response without end. A subclass's `startParser(response)` gives a function that takes its text. */
  class StreamingTransport extends PostingTransport {
    async read() {
      const response = await this.request(this.readUrl);
      const parse = this.startParser(response);
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
        parse(decoder.decode(chunk.value, { stream: true }));
      }
    }
  }

  class XhrMultipart extends StreamingTransport {
    static type = 'xhr-multipart';

    startParser(response) {
      const split = multipartSplitter(response.headers.get('Content-Type'));
      return (text) => split(text).forEach((payload) => this.receive(payload));
    }
  }

  /** Gives a function that takes the text of a multipart stream, cut anywhere, and returns the bodies now complete. */
  function multipartSplitter(contentType) {
    const [, quoted, bare] = /boundary=(?:"([^"]+)"|([^\s;"]+))/i.exec(contentType);
    const delimiter = `\n--${quoted ?? bare}\n`;
    let rest = '\n';
    let inPreamble = true;
    return (chunk) => {
      const parts = (rest + chunk).split(delimiter);
      rest = parts.pop();
      if (inPreamble && parts.length > 0) {
        inPreamble = false;
        parts.shift();
      }
      return parts.map((part) => part.slice(part.indexOf('\n\n') + 2));
    };
  }

  /** Reads a page without end, whose scripts call `parent.s._`. It is written into a hidden frame as it arrives, since no
   *  browser tells when a frame that loads by itself breaks off. A frame around that one is the parent, so that the
   *  page's own `s` is left alone. What is written runs as a script of the page: only its own server may send that. */
  class HtmlFile extends StreamingTransport {
    static type = 'htmlfile';
    static usesFrame = true;

    static available(url) {
      return new URL(url).origin === location.origin;
    }

    startParser() {
      this.frame = createHiddenFrame(document);
      this.frame.contentWindow.s = {
        _: (payload, stream) => {
          stream.currentScript.remove();
          this.receive(payload);
        },
      };
      const stream = createHiddenFrame(this.frame.contentDocument).contentDocument;
      stream.open();
      return (text) => stream.write(text);
    }
  }

  /** Reads by script elements, which any origin may load. They live in a frame, as nothing else can abort them. */
  class JsonpPolling extends PostingTransport {
    static type = 'jsonp-polling';
    static patience = LONGEST_REQUEST;
    static usesFrame = true;

    open() {
      this.index = io.JSONP.push(this) - 1;
      this.frame = createHiddenFrame(document);
      this.frame.contentWindow.io = io;
      this.poll();
    }

    poll() {
      this.answer = null;
      const script = this.frame.contentDocument.createElement('script');
      script.referrerPolicy = 'origin';
      script.src = `${this.readUrl}/${this.index}`;
      script.onerror = this.onReadEnd;
      script.onload = () => {
        script.remove();
        this.takeAnswer();
      };
      this.frame.contentDocument.body.append(script);
    }

    /** What the server's script calls. The payload waits until the script is done and can be left behind. */
    _(payload) {
      this.answer = payload;
    }

    takeAnswer() {
      if (this.answer !== null) {
        this.receive(this.answer);
      }
      if (this.answer === null || this.sessionid === null) {
        this.onReadEnd();
      } else if (!this.ended) {
        this.poll();
      }
    }

    get postUrl() {
      return `${this.readUrl}/${this.index}`;
    }

    /** As open to other origins as a form in a frame, but without a form's turning LF into CRLF. What such a POST was
     *  answered is hidden from a page of another origin; there it is the next poll that tells of an ended session. */
    get postMode() {
      return 'no-cors';
    }

    release() {
      super.release();
      delete io.JSONP[this.index];
    }
  }

  const TRANSPORTS = new Map(
    [WebSocketTransport, XhrMultipart, XhrPolling, JsonpPolling, HtmlFile].map((each) => [each.type, each]),
  );

  // -- The transport that worked, remembered in a cookie --------------------------------------------------------------

  /** A page in a sandbox has no cookies and may not even ask. */
  function withCookies(action) {
    try {
      return action();
    } catch {
      return undefined;
    }
  }

  function isRemembered(type) {
    return withCookies(() => document.cookie.split('; ').includes('socketio=' + encodeURIComponent(type)));
  }

  function remember(type) {
    withCookies(() => {
      document.cookie = `socketio=${encodeURIComponent(type)}; path=/; SameSite=Lax`;
    });
  }

  function forgetRemembered() {
    withCookies(() => {
      document.cookie = 'socketio=; path=/; SameSite=Lax; max-age=0';
    });
  }

  // -- The socket -----------------------------------------------------------------------------------------------------

  /**
   * What a page holds: messages both ways and events, over one transport after another.
   *
   * Events: `connect`, `message` (message), `disconnect`, `connecting` (transport type), `connect_failed`,
   * `reconnecting` (delay, attempts), `reconnect` (transport type, attempts), `reconnect_failed`.
   *
   * @property {boolean} connected
   * @property {boolean} connecting    while an attempt is under way
   * @property {boolean} reconnecting  from an unwanted disconnect until `reconnect` or `reconnect_failed`
   * @property {{type: string, sessionid: ?string}} transport  the present one, the last one, or the one to be tried
   */
  class Socket {
    #url;
    #listeners = new Map();
    #queue = [];
    #untried = [];
    #worked = null;
    #attempts = 0;
    #timer;

    /**
     * @param {string} [host]  by default the page's
     * @param {Object} [options]
     * @param {number|string} [options.port]  by default the page's
     * @param {boolean} [options.secure]  by default whether the page is
     * @param {string} [options.resource]  'socket.io', or one with extra parameters such as 'chat/123'
     * @param {string[]} [options.transports]  those to try, in this order; what can't work here is left out
     * @param {Object} [options.transportOptions]  by type: `{'websocket': {timeout: 30000}}`
     * @param {number} [options.timeout]  15000 ms of silence after which a transport is dead; polls get longer
     * @param {number} [options.connectTimeout]  5000 ms for each transport
     * @param {boolean} [options.tryTransportsOnConnectTimeout]  whether to try the next when one does not connect
     * @param {boolean} [options.reconnect]  after an unwanted disconnect
     * @param {number} [options.reconnectionDelay]  500 ms, doubled each time
     * @param {number} [options.maxReconnectionAttempts]  10
     * @param {boolean} [options.rememberTransport]  in the cookie `socketio`, to try it first next time
     */
    constructor(host, options) {
      const given = Object.entries(options ?? {}).filter(([, value]) => value !== undefined && value !== null);
      const secure = location.protocol === 'https:';
      this.options = { secure, ...DEFAULTS, ...Object.fromEntries(given) };
      this.options.port ??= location.port || (this.options.secure ? 443 : 80);
      this.host = host || location.hostname;
      this.#url = `${this.options.secure ? 'https' : 'http'}://${this.host}:${this.options.port}/`
        + this.options.resource.replace(/^\/+|\/+$/g, '');
      this.connected = false;
      this.connecting = false;
      this.reconnecting = false;
      const [first] = this.#candidates();
      this.transport = first === undefined ? null : this.#createTransport(first);
    }

    /** Connects; while waiting for a reconnection, connects now. */
    connect() {
      if (!this.connected && !this.connecting) {
        clearTimeout(this.#timer);
        window.addEventListener('pagehide', this.#suspend);
        this.#startAttempt();
      }
      return this;
    }

    /** Sends text, anything that JSON can hold, or each element of an array; waits for `connect` if need be. */
    send(message) {
      const frames = (Array.isArray(message) ? message : [message]).map(encode);
      frames.forEach((each) => this.#queue.push(each));
      if (this.connected) {
        this.transport.flush();
      }
      return this;
    }

    /** Ends the connection and all attempts at one. What was sent before still goes out if it was connected. */
    disconnect() {
      const wasConnected = this.connected;
      this.#rest();
      this.transport?.close();
      this.#queue = [];
      if (wasConnected) {
        this.#emit('disconnect');
      }
      return this;
    }

    on(name, listener) {
      return this.#addListener(name, listener, false);
    }

    once(name, listener) {
      return this.#addListener(name, listener, true);
    }

    removeEvent(name, listener) {
      this.#removeListeners(name, (each) => each.listener === listener);
      return this;
    }

    #addListener(name, listener, once) {
      this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), { listener, once }]);
      return this;
    }

    #removeListeners(name, isMeant) {
      this.#listeners.set(name, (this.#listeners.get(name) ?? []).filter((each) => !isMeant(each)));
    }

    /** An exception in one listener is the browser's to report; it stops neither the others nor the transport. */
    #emit(name, ...args) {
      for (const entry of this.#listeners.get(name) ?? []) {
        if (entry.once) {
          this.#removeListeners(name, (each) => each === entry);
        }
        try {
          entry.listener.apply(this, args);
        } catch (error) {
          setTimeout(() => {
            throw error;
          });
        }
      }
    }

    /** The transports to try, in order. */
    #candidates() {
      const available = this.options.transports.filter((type) => TRANSPORTS.get(type)?.available(this.#url));
      if (this.reconnecting && this.#attempts < FALLBACK_ATTEMPT) {
        return [this.#worked];
      }
      const isPreferred = (type) => (
        this.reconnecting ? type === this.#worked : this.options.rememberTransport && isRemembered(type)
      );
      const preferred = available.filter(isPreferred);
      return [...preferred, ...available.filter((type) => !preferred.includes(type))];
    }

    #createTransport(type) {
      const { timeout } = { ...this.options, ...this.options.transportOptions[type] };
      return new (TRANSPORTS.get(type))(this.#url, timeout, this.#queue, {
        onConnect: () => this.#onConnect(),
        onMessage: (message) => this.#emit('message', message),
        onClose: () => this.#onClose(),
      });
    }

    #startAttempt() {
      this.connecting = true;
      this.#untried = this.#candidates();
      if (this.#untried.length > 0) {
        this.#tryNext();
      } else {
        this.#timer = setTimeout(() => this.#giveUp());
      }
    }

    /** A frame that is loading would keep the page's own `load` event back, so frames wait for that. */
    #tryNext() {
      const type = this.#untried.shift();
      const transport = this.#createTransport(type);
      this.transport = transport;
      this.#emit('connecting', type);
      if (TRANSPORTS.get(type).usesFrame && document.readyState !== 'complete') {
        window.addEventListener('load', () => setTimeout(() => this.#open(transport)), { once: true });
      } else {
        this.#open(transport);
      }
    }

    #open(transport) {
      if (transport.closed) {
        return;
      }
      this.#timer = setTimeout(() => transport.fail(), this.options.connectTimeout);
      try {
        transport.open();
      } catch {
        setTimeout(() => transport.fail());
      }
    }

    #onConnect() {
      const { transport } = this;
      clearTimeout(this.#timer);
      this.connecting = false;
      this.connected = true;
      this.#worked = transport.type;
      if (this.options.rememberTransport) {
        remember(transport.type);
      }
      transport.flush();
      this.#emit('connect');
      if (this.reconnecting && !transport.ended) {
        this.reconnecting = false;
        this.#emit('reconnect', transport.type, this.#attempts);
      }
    }

    #onClose() {
      clearTimeout(this.#timer);
      if (this.connecting) {
        this.#onAttemptFailed();
        return;
      }
      this.connected = false;
      this.reconnecting = this.options.reconnect;
      this.#attempts = 0;
      if (!this.reconnecting) {
        this.#rest();
      }
      this.#emit('disconnect');
      if (this.reconnecting && !this.connecting) {
        this.#scheduleReconnection();
      }
    }

    #onAttemptFailed() {
      if (this.options.rememberTransport && isRemembered(this.transport.type)) {
        forgetRemembered();
      }
      if (this.options.tryTransportsOnConnectTimeout && this.#untried.length > 0) {
        this.#tryNext();
      } else {
        this.#giveUp();
      }
    }

    #giveUp() {
      this.connecting = false;
      if (this.reconnecting) {
        this.#scheduleReconnection();
      } else {
        this.#rest();
        this.#emit('connect_failed');
      }
    }

    #scheduleReconnection() {
      if (this.#attempts >= this.options.maxReconnectionAttempts) {
        this.#rest();
        this.#emit('reconnect_failed');
        return;
      }
      const delay = Math.min(this.options.reconnectionDelay * 2 ** this.#attempts, LONGEST_RECONNECTION_DELAY);
      this.#attempts += 1;
      this.#timer = setTimeout(() => this.#startAttempt(), delay);
      this.#emit('reconnecting', delay, this.#attempts);
    }

    #rest() {
      clearTimeout(this.#timer);
      this.connected = false;
      this.connecting = false;
      this.reconnecting = false;
      window.removeEventListener('pagehide', this.#suspend);
    }

    /** The page is left. Should the browser keep it and show it again, timers go on: the socket reconnects, or begins
     *  its attempt anew. */
    #suspend = () => {
      this.transport?.stop();
      if (this.connected) {
        this.#onClose();
      } else if (this.connecting) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#startAttempt());
      }
    };
  }

  // -- The global -----------------------------------------------------------------------------------------------------

  Socket.prototype.addEvent = Socket.prototype.on;
  Socket.prototype.addListener = Socket.prototype.on;

  /** `JSONP` holds the transports that a server's `io.JSONP[INDEX]._("...");` may call, each at its index. */
  const io = { Socket, JSONP: [] };

  window.io = io;
})();
