/**
 * A browser client for Socket.IO 0.6 servers, part of TornadIO.
 *
 *     const socket = new io.Socket(location.hostname, { port: 8001 });
 *     socket.on('connect', () => socket.send('hello'));
 *     socket.on('message', (message) => console.log(message));
 *     socket.connect();
 *
 * Its interface is that of the official 0.6 client, so a page written for that one runs unchanged. Reads from the top:
 * the protocol's frames, where the script runs, the tabs' places, what all transports share, the five transports, the
 * change to a better one, the transport that worked, the socket that a page sees, the global `io`.
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
    firstMessage: null,
  };

  /** Delays stop doubling here: a page that never gives up stays polite, and setTimeout has its own limit. */
  const LONGEST_RECONNECTION_DELAY = 600000;

  /** A connection that ends within so many milliseconds, or before it has lasted as long as the delay before it, does not
   *  count: the delays go on doubling. Else a server that accepts clients only to close them had them all back at once. */
  const SHORTEST_CONNECTION = 5000;

  /** From this reconnection attempt on all transports are tried. Before, only the one that worked: while a server
   *  restarts all fail, and the first to find it up again should be no lesser one. */
  const FALLBACK_ATTEMPT = 3;

  /** While a lesser transport has to do, the one that worked is tried again after so many milliseconds: the first time,
   *  then twice as long each time, and at most. */
  const FIRST_UPGRADE_DELAY = 10000;
  const LONGEST_UPGRADE_DELAY = 300000;

  /** Nobody waits for that, and Firefox holds a WebSocket back for up to a minute after others have failed (RFC 6455,
   *  section 7.2.3). */
  const LONGEST_UPGRADE_ATTEMPT = 65000;

  /** Milliseconds for a server to end a session that is left. */
  const LONGEST_FAREWELL = 10000;

  /** So many milliseconds an HTTP request may take beyond the timeout: servers end quiet polls after 20 seconds or so, and
   *  a long POST takes its time on a slow line. */
  const LONGEST_REQUEST = 45000;

  /** So many milliseconds late, a timer tells that the page was frozen or asleep, or that timers of hidden pages wait. */
  const LATE = 1000;

  /** Longer delays, even Infinity, count for timers as none. */
  const LONGEST_DELAY = 2 ** 31 - 1;

  /** What has arrived while timers waited is read within so many milliseconds, and a page that is kept is frozen. */
  const MOMENT = 1000;

  /** Requests that wait for what a server sends, of all tabs together: to each server a browser has six connections over
   *  HTTP/1.1, and two are left to POSTs and to the pages of the site. Of the waiting ones so many may be streams, which
   *  stay where they are: a page that comes to the front can wait, too. */
  const LONG_REQUESTS = 4;
  const STREAMS = 3;

  /** Milliseconds between polls that may not wait, of a page that is seen and of a hidden one. */
  const PAUSE = 1000;
  const HIDDEN_PAUSE = 3000;

  /** Milliseconds that a tab's entry for its place lasts at most, and between two writes of it. */
  const LONGEST_LEASE = 60000;
  const RENEWAL = 1000;

  /** Characters of a refusal's text that a page is told. */
  const LONGEST_REFUSAL_TEXT = 500;

  /** Ids of sessions that an empty POST ends: TornadIO's. The official server takes such a POST for a broken one, and has
   *  numbers for ids. */
  const ENDED_BY_EMPTY_POST = /[0-9a-f]{32}$/;

  /** UTF-16 units of queued frames that travel in one payload. Servers limit payloads, TornadIO to 8 MiB by default, and
   *  a unit is at most three bytes of UTF-8. A longer single frame travels alone. */
  const BATCH_UNITS = 256 * 1024;

  /** WebSocket.OPEN, which a page or a content blocker may have replaced by a WebSocket without constants. */
  const OPEN = 1;

  /** Bytes that requests which outlive their page may hold together (Fetch Standard, 4.6). */
  const LONGEST_LAST_POST = 65536;

  /** For frames. The document's type keeps it out of quirks mode. */
  const EMPTY_PAGE = '<!DOCTYPE html><body>';

  /** Something between half of a delay and the whole, or else all clients of a server that restarts were back at once. */
  function jittered(delay) {
    return Math.round(delay * (1 + Math.random()) / 2);
  }

  /** An exception in the page's own functions is the browser's to report; it stops nothing else. */
  function report(error) {
    setTimeout(() => {
      throw error;
    });
  }

  // -- Frames: ~m~LENGTH~m~TEXT, the length in UTF-16 units -----------------------------------------------------------

  /** Turns a message into a frame. Text that would be read as a heartbeat or as JSON travels as a JSON string. */
  function encode(message) {
    const isText = typeof message === 'string' && !/^~[hj]~/.test(message);
    return frame(isText ? message : '~j~' + json(message));
  }

  /** The frames of a message, or of an array's elements, each of which is one. */
  function encodeEach(message) {
    return (Array.isArray(message) ? message : [message]).map(encode);
  }

  /** JSON.stringify escapes unmatched surrogates, which many readers refuse. The pattern meets every escape: a backslash
   *  that is escaped itself begins none. */
  function json(message) {
    return (JSON.stringify(message, plainValues()) ?? 'null').replace(
      /\\(?:ud[89ab]..\\ud[c-f]..|(ud[89a-f]..)|.)/gi,
      (escape, unmatched) => (unmatched ? '\uFFFD' : escape),
    );
  }

  /** Gives a replacer that undoes the `toJSON` of arrays, texts and numbers, where the page has one: Prototype.js before
   *  1.7 makes a text of each, which JSON.stringify quotes once more. */
  function plainValues() {
    const added = [Array, String, Number].map(({ prototype }) => prototype.toJSON).filter((each) => each !== undefined);
    return added.length === 0 ? null : function plainValue(key, value) {
      return added.includes(this[key]?.toJSON) ? this[key] : value;
    };
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

  // -- Where the script runs: a page, a frame, a worker ---------------------------------------------------------------

  /** Workers have none. */
  function isDocument() {
    return globalThis.document !== undefined;
  }

  /** Whether the page is one that nobody sees. A worker isn't. */
  function isHidden() {
    return Boolean(globalThis.document?.hidden);
  }

  /** Whether `unload` will fire: Chromium lets pages forbid it, and will in time for all that don't ask for it. */
  function canHearUnload() {
    return document.featurePolicy?.allowsFeature('unload') ?? true;
  }

  /** The page's URL or, for what has no host in its URL (`about:srcdoc`, `about:blank`, a blob), its origin's. */
  function pageUrl() {
    try {
      return location.host ? location : new URL(globalThis.origin);
    } catch {
      return location;
    }
  }

  /** A host as URLs have it, IPv6 addresses in brackets; they may be given without. */
  function hostOf(text) {
    const host = /^[\da-f]*:[\da-f]*:[\da-f:.]*$/i.test(text) ? `[${text}]` : text;
    if (!/^(\[[\da-f:.]+\]|[^\s:/?#@[\]\\]+)$/i.test(host)) {
      throw new TypeError(`io.Socket takes a host such as 'example.com', and the port as an option, not '${text}'`);
    }
    return host;
  }

  /** Calls what may throw: a page in a sandbox has neither cookies nor storage, and may not even ask. */
  function ifAllowed(action) {
    try {
      return action();
    } catch {
      return undefined;
    }
  }

  /** Whether this page shares one connection for all requests to a server: its own, over HTTP/2 or newer. */
  function isMultiplexed(origin) {
    const [navigation] = performance.getEntriesByType('navigation');
    return origin === location.origin && /^h[23]/.test(navigation?.nextHopProtocol);
  }

  // -- The tabs' places -----------------------------------------------------------------------------------------------

  /**
   * A transport's place among the long requests to a server.
   *
   * Tabs of one origin see each other's entries in localStorage. An entry lapses unless it is kept, as that of a tab that
   * has crashed. Places go to the pages that are seen, then to who has been there longest. A stream keeps its place until
   * it ends; a poll asks for it anew each time.
   */
  class Place {
    isTaken = false;

    constructor(url, isStream, lease) {
      const { origin } = new URL(url);
      this.isLimited = !isMultiplexed(origin);
      this.isStream = isStream;
      this.lease = Math.min(lease, LONGEST_LEASE) + RENEWAL;
      this.since = `${Date.now()} ${Math.random()}`;
      this.prefix = `socketio ${origin} `;
      this.key = this.prefix + this.since;
    }

    /** Compared as text, the lower comes first. */
    get rank() {
      return `${isHidden() ? 'hidden' : 'front'} ${this.since}`;
    }

    get isFree() {
      if (!this.isLimited) {
        return true;
      }
      const { rank } = this;
      const first = this.others.filter((each) => each.isTaken || each.rank < rank);
      const streams = first.filter((each) => each.isStream);
      return first.length < LONG_REQUESTS && !(this.isStream && streams.length >= STREAMS);
    }

    /** The entries of the others. Those that have lapsed are removed, also where the clock was set back meanwhile, and so
     *  is what can't be read. */
    get others() {
      const keys = ifAllowed(() => Object.keys(localStorage)) ?? [];
      const others = [];
      for (const key of keys.filter((each) => each.startsWith(this.prefix) && each !== this.key)) {
        const entry = ifAllowed(() => JSON.parse(localStorage.getItem(key)));
        if (Math.abs(Date.now() - entry?.keptAt) < entry?.lease) {
          others.push(entry);
        } else {
          localStorage.removeItem(key);
        }
      }
      return others;
    }

    /** Takes the place if it is free, else leaves it. */
    take() {
      this.isTaken = this.isFree;
      this.keep();
      return this.isTaken;
    }

    keep() {
      if (!this.isLimited) {
        return;
      }
      this.keptAt = Date.now();
      const { rank, isTaken, isStream, lease, keptAt } = this;
      const entry = JSON.stringify({ rank, isTaken, isStream, lease, keptAt });
      ifAllowed(() => localStorage.setItem(this.key, entry));
    }

    /** Keeps the entry from lapsing. Not with each message: every write is an event in each of the other tabs. */
    renew() {
      if (Math.abs(Date.now() - this.keptAt) >= RENEWAL) {
        this.keep();
      }
    }

    leave() {
      ifAllowed(() => localStorage.removeItem(this.key));
    }
  }

  /** Waits so many milliseconds, or until the page is shown or hidden. */
  function pause(delay) {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        globalThis.document?.removeEventListener('visibilitychange', end);
        resolve();
      };
      const timer = setTimeout(end, delay);
      globalThis.document?.addEventListener('visibilitychange', end);
    });
  }

  // -- What all transports share --------------------------------------------------------------------------------------

  /**
   * A time limit: calls `action` after `delay` milliseconds unless it is lifted.
   *
   * A page that was frozen or asleep, and a hidden one whose timers wait for each other, runs a timer late and often
   * before it reads what has arrived meanwhile. Then that gets a moment more: it may lift the limit.
   */
  class Limit {
    constructor(wanted, action) {
      const delay = Math.min(wanted, LONGEST_DELAY);
      const due = performance.now() + delay;
      this.timer = setTimeout(() => {
        if (performance.now() > due + LATE) {
          this.timer = setTimeout(action, MOMENT);
        } else {
          action();
        }
      }, delay);
    }

    lift() {
      clearTimeout(this.timer);
    }
  }

  /** A response that is not 200. `isFinal` says that the server would refuse every other transport, too. */
  class Refusal extends Error {
    constructor(status, text, isFinal) {
      super(`status ${status}`);
      Object.assign(this, { status, text, isFinal });
    }

    /** Reads its text, unless that is a page, say of a proxy, or something else that was not made to be read as it is. */
    static async from(response) {
      const isText = /^text\/plain\b/i.test(response.headers.get('Content-Type'));
      const text = isText ? await beginningOf(response) : undefined;
      return new Refusal(response.status, text, response.headers.get('Socket-IO-Refusal') === 'every-transport');
    }
  }

  /** The text of a response, as far as a page is told it. That of a `fetch` which the page has put in the browser's place
   *  may have no `body`. */
  async function beginningOf(response) {
    if (!response.body) {
      return (await response.text()).slice(0, LONGEST_REFUSAL_TEXT);
    }
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let text = '';
    for (let done = false; !done && text.length <= LONGEST_REFUSAL_TEXT;) {
      const chunk = await reader.read();
      ({ done } = chunk);
      text += decoder.decode(chunk.value, { stream: !done });
    }
    reader.cancel();
    return text.slice(0, LONGEST_REFUSAL_TEXT);
  }

  /**
   * One connection or the attempt at one: it opens once, ends once and is never used again.
   *
   * A subclass has `open()`, `write(payload)`, `leave()` and `release()`, hands what arrives to `receive` and calls `fail`
   * when the connection broke. The owner is told of `onConnect()`, `onMessage(message)` and `onClose()`; of the last once
   * and only for an end that it did not ask for. A `refusal` tells why an attempt failed, where a page can see that.
   *
   * `getFirst`, where there is one, returns what has to be sent before all that is queued, or a promise of it. Once that
   * is there the owner is told of `onFirst()`.
   */
  class Transport {
    /** How much longer than its timeout it may be silent. */
    static patience = 0;

    /** Whether it reads one response without end. */
    static isStream = false;

    /** Whether this transport can be used here, with a server at that URL. */
    static available(url) {
      return true;
    }

    constructor(url, timeout, queue, owner, getFirst) {
      this.type = this.constructor.type;
      this.sessionid = null;
      this.baseUrl = `${url}/${this.type}`;
      this.timeout = Number(timeout);
      this.queue = queue;
      this.owner = owner;
      this.getFirst = getFirst;
      this.waitsForFirst = Boolean(getFirst);
      this.first = [];
      this.echoes = [];
      this.refusal = null;
      this.limit = null;
      this.ended = false;
      this.closed = false;
    }

    /** Opens it; what can't be opened fails, later as all that fails. */
    start() {
      try {
        this.open();
      } catch {
        setTimeout(() => this.fail());
      }
    }

    /** Whether `write` may be called now. What it is given counts as sent and is never given again. */
    get writable() {
      return this.sessionid !== null && !this.closed;
    }

    /** Writes what is queued, now or, when a write is under way, as soon as that is done. Echoes travel by themselves:
     *  of a payload with one, the official server hears no message. */
    flush() {
      while (this.writable && (this.echoes.length > 0 || this.hasMessages)) {
        this.write(this.echoes.splice(0).join('') || this.takeMessages());
      }
    }

    get hasMessages() {
      return !this.waitsForFirst && this.first.length + this.queue.length > 0;
    }

    takeMessages() {
      return this.first.splice(0).join('') + this.takeBatch();
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
        if (this.waitsForFirst && !this.closed) {
          this.prepareFirst();
        }
      } else if (text.startsWith('~h~')) {
        this.echoes.push(frame(text));
        this.flush();
      } else {
        this.owner.onMessage(text.startsWith('~j~') ? JSON.parse(text.slice(3)) : text);
      }
    }

    /** What goes first belongs to this connection: it is never queued for another one. Without it the connection
     *  fails. */
    async prepareFirst() {
      try {
        this.first = encodeEach((await this.getFirst()) ?? []);
        this.waitsForFirst = false;
      } catch (error) {
        report(error);
        this.fail();
      }
      this.flush();
      if (this.ended) {
        this.stopIfDone();
      } else {
        this.owner.onFirst();
      }
    }

    get longestSilence() {
      return this.timeout + this.constructor.patience;
    }

    watchSilence() {
      this.lastSign = Date.now();
      this.setLimit(this.longestSilence);
    }

    setLimit(delay) {
      this.limit?.lift();
      this.limit = new Limit(delay, () => this.fail());
    }

    /** Ends a connection that died while the page slept, as soon as what has arrived has had its moment. The limit on
     *  silence may still have far to go then: on some systems the clock of timers, which is that of `performance.now()`,
     *  stands still in sleep. `Date.now()` goes on. It may also be set; so it is asked only here, by a page that wakes,
     *  where a mistake costs no more than a reconnection. */
    checkSilence() {
      if (!this.ended && this.sessionid !== null && Date.now() > this.lastSign + this.longestSilence) {
        this.setLimit(MOMENT);
      }
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
      if (!this.isWriting) {
        this.stop();
      }
    }

    /** The page is about to be unloaded. */
    prepareToUnload() {}

    /** Ends the connection together with its page. What the page has sent last still goes out. */
    unload() {
      this.close();
    }

    /** Whether something is still on its way out, or about to be. */
    get isWriting() {
      return this.waitsForFirst && this.sessionid !== null && this.queue.length > 0;
    }

    /** Whether the server can be asked to end the connection, by `leave`: what it has sent before still arrives, then the
     *  connection fails. Nothing may be written any more. */
    get canBeLeft() {
      return true;
    }

    /** Ends everything at once, silently. */
    stop() {
      if (!this.closed) {
        this.ended = true;
        this.closed = true;
        this.limit?.lift();
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
    leaving = false;
    isUnloading = false;
    sessionEnded = false;
    aborter = new AbortController();
    place = new Place(this.baseUrl, this.constructor.isStream, this.longestSilence);

    start() {
      this.place.keep();
      super.start();
    }

    watchSilence() {
      super.watchSilence();
      this.place.renew();
    }

    open() {
      this.read().then(this.onReadEnd, this.onReadEnd);
    }

    /** Nothing more can be read. If that is not unexpected, the last POST may still be under way. Only a refusal says that
     *  the session has ended: Firefox breaks requests off, too, just before it leaves a page. */
    onReadEnd = (error) => {
      if (!this.ended) {
        this.refusal = error instanceof Refusal ? error : null;
        this.sessionEnded ||= this.refusal !== null;
        this.fail();
      }
    };

    /** Where to GET a new session or, when there is one, to read from it. */
    readUrl(parameter = '') {
      return `${this.baseUrl}/${encodeURIComponent(this.sessionid ?? '')}/${stamp()}${parameter}`;
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
        throw await Refusal.from(response);
      }
      return response;
    }

    get writable() {
      return super.writable && !this.posting && !this.leaving && !this.isUnloading;
    }

    post(options) {
      return this.request(this.postUrl, { method: 'POST', mode: this.postMode, ...options });
    }

    /** Sends a POST that arrives even if the page is left just now. Where `fetch` can't do that yet (Firefox before 133),
     *  a beacon can, if the page's policy lets it have an Origin. Workers have no beacons. */
    postLast(body) {
      if ('keepalive' in Request.prototype || !navigator.sendBeacon) {
        this.post({ body, keepalive: `${body ?? ''}`.length <= LONGEST_LAST_POST, signal: null }).catch(() => {});
      } else {
        navigator.sendBeacon(this.postUrl, body);
      }
    }

    /** A POST that failed may have arrived all the same, so it ends the connection and is not sent again. */
    async write(payload) {
      this.posting = true;
      const limit = new Limit(this.timeout + LONGEST_REQUEST, () => this.fail());
      try {
        const response = await this.post({
          headers: { 'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8' },
          body: 'data=' + encodeURIComponent(payload),
        });
        await response.text();
      } catch (error) {
        this.sessionEnded ||= error instanceof Refusal && error.status === 401;
        this.fail();
      }
      limit.lift();
      this.posting = false;
      this.flush();
      if (this.ended) {
        this.stopIfDone();
      } else if (this.leaving) {
        this.endSession();
      }
    }

    get canBeLeft() {
      return ENDED_BY_EMPTY_POST.test(this.sessionid);
    }

    leave() {
      this.leaving = true;
      if (!this.posting) {
        this.endSession();
      }
    }

    /** Tells the server that the session has ended, by an empty POST. */
    endSession() {
      if (!this.sessionEnded && this.canBeLeft) {
        this.sessionEnded = true;
        this.postLast();
      }
    }

    prepareToUnload() {
      this.isUnloading = true;
    }

    close() {
      if (this.isUnloading) {
        this.unload();
      } else {
        super.close();
      }
    }

    /** One POST takes all that waits: no answer would be seen, to send a second. None ends the session: it could overtake
     *  this one. */
    unload() {
      if (this.ended) {
        return;
      }
      if (this.sessionid === null || !this.hasMessages) {
        this.stop();
        return;
      }
      this.ended = true;
      this.place.leave();
      this.postLast(new URLSearchParams({ data: this.takeMessages() }));
    }

    get postMode() {
      return 'cors';
    }

    /** Until the last POST is done a stream must stay: with it a server ends the session. */
    get isWriting() {
      return this.posting || super.isWriting;
    }

    release() {
      this.aborter.abort();
      this.frame?.remove();
      this.place.leave();
    }
  }

  /** A frame that nobody sees. It has a window of its own, for scripts that need globals and for requests that end with
   *  the frame. Its place is beside the body, which pages replace (Turbo does with each link). */
  function createHiddenFrame(parentDocument) {
    const element = parentDocument.createElement('iframe');
    element.style.display = 'none';
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
      return super.writable && this.native.readyState === OPEN;
    }

    write(payload) {
      this.native.send(payload);
    }

    leave() {
      this.native.close();
    }

    release() {
      this.native?.close();
    }
  }

  /** Reads by one GET after another. Between them a server can't see that its client has gone, so it is told. */
  class PollingTransport extends PostingTransport {
    static patience = LONGEST_REQUEST;

    /** Where to read next, as soon as it is time. Without a place that is after a pause, and the server answers at once. */
    async nextUrl() {
      if (this.sessionid === null || this.place.take()) {
        return this.readUrl();
      }
      await pause(isHidden() ? HIDDEN_PAUSE : PAUSE);
      return this.readUrl(';wait=0');
    }

    release() {
      // Before what is under way is broken off: Chromium freezes a page that it keeps as soon as it can, and what such a
      // page has asked for last may never be sent.
      this.endSession();
      super.release();
    }
  }

  class XhrPolling extends PollingTransport {
    static type = 'xhr-polling';

    async read() {
      do {
        const response = await this.request(await this.nextUrl());
        this.receive(await response.text());
      } while (this.sessionid !== null && !this.ended);
    }
  }

  /** Reads one response without end. A subclass's `startParser(response)` gives a function that takes its text. */
  class StreamingTransport extends PostingTransport {
    static isStream = true;

    /** The media types asked for. It is a value that needs no preflight request (CORS-safelisted). */
    static accept = '*/*';

    lacksPlace = false;

    async read() {
      this.requirePlace(this.place.isFree);
      const response = await this.request(this.readUrl(), { headers: { Accept: this.constructor.accept } });
      const parse = this.startParser(response);
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
        parse(decoder.decode(chunk.value, { stream: true }));
      }
    }

    /** The place is taken only now. Of tabs that began at the same time none knew of the others; by now all do. */
    receiveFrame(text) {
      if (this.sessionid === null) {
        this.requirePlace(this.place.take());
      }
      super.receiveFrame(text);
    }

    requirePlace(isThere) {
      this.lacksPlace = !isThere;
      if (this.lacksPlace) {
        throw new Error('too many long requests');
      }
    }
  }

  /** WebKit cancels every load of multipart/x-mixed-replace that is no image or page: it reads multipart/mixed only,
   *  which TornadIO answers when asked to. Other servers may answer what they like. */
  class XhrMultipart extends StreamingTransport {
    static type = 'xhr-multipart';
    static accept = 'multipart/mixed, */*;q=0.5';

    static isReadable = true;

    static available() {
      return XhrMultipart.isReadable;
    }

    /** Each stream that WebKit has cancelled keeps one of the six connections to its server, and a session there, so
     *  the page tries no other. */
    async read() {
      try {
        await super.read();
      } catch (error) {
        if (this.isReplacing && this.sessionid === null && !this.closed) {
          XhrMultipart.isReadable = false;
        }
        throw error;
      }
    }

    startParser(response) {
      const contentType = response.headers.get('Content-Type');
      this.isReplacing = /x-mixed-replace/i.test(contentType);
      const split = multipartSplitter(contentType);
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

  /** An empty frame that can be used at once: only a document that was opened stays. */
  function openHiddenFrame(parentDocument) {
    const element = createHiddenFrame(parentDocument);
    parentDocument.documentElement.append(element);
    element.contentDocument.open();
    element.contentDocument.write(EMPTY_PAGE);
    element.contentDocument.close();
    return element;
  }

  /** Reads a page without end, whose scripts call `parent.s._`. It is written into a hidden frame as it arrives, since no
   *  browser tells when a frame that loads by itself breaks off. A frame around that one is the parent, so that the
   *  page's own `s` is left alone. What is written runs as a script of the page: only its own server may send that. */
  class HtmlFile extends StreamingTransport {
    static type = 'htmlfile';
    static usesFrame = true;

    static available(url) {
      return isDocument() && new URL(url).origin === pageUrl().origin;
    }

    startParser() {
      this.frame = openHiddenFrame(document);
      this.frame.contentWindow.s = {
        _: (payload, stream) => {
          stream.currentScript.remove();
          this.receive(payload);
        },
      };
      const stream = openHiddenFrame(this.frame.contentDocument).contentDocument;
      stream.open();
      return (text) => stream.write(text);
    }
  }

  /** Reads by script elements, which any origin may load. They live in a frame, as nothing else can abort them. Servers
   *  ask for their Referer: in a frame of `srcdoc` it is the page's in every engine, in one that was opened by a script
   *  WebKit and Firefox send none. */
  class JsonpPolling extends PollingTransport {
    static type = 'jsonp-polling';
    static usesFrame = true;

    static available() {
      return isDocument();
    }

    open() {
      this.index = io.JSONP.push(this) - 1;
      this.frame = createHiddenFrame(document);
      this.frame.srcdoc = EMPTY_PAGE;
      this.frame.addEventListener('load', () => this.poll(), { once: true });
      document.documentElement.append(this.frame);
    }

    /** In a page that is sandboxed the frame is out of reach, and so is one that the page has removed. */
    async poll() {
      this.answer = null;
      const url = await this.nextUrl();
      if (this.closed) {
        return;
      }
      try {
        this.loadScript(url);
      } catch {
        this.fail();
      }
    }

    loadScript(url) {
      this.frame.contentWindow.io = io;
      const script = this.frame.contentDocument.createElement('script');
      script.referrerPolicy = 'origin';
      script.src = url;
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

    readUrl(parameter) {
      return `${super.readUrl(parameter)}/${this.index}`;
    }

    get postUrl() {
      return this.readUrl();
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

  // -- The change to a better transport -------------------------------------------------------------------------------

  /**
   * The change from a lesser transport, which connects a socket, to a better one.
   *
   * The better one is opened beside it. Once that has its session, and what goes first, the lesser one is left: until the
   * server has ended its session, what it sends there still arrives, and all that is sent waits. So nothing is lost,
   * either way. What arrives over the better one meanwhile waits as well: it belongs to a connection that the page does
   * not know of yet.
   */
  class Upgrade {
    isReady = false;
    messages = [];

    constructor(lesser, better, onFailed) {
      this.lesser = lesser;
      this.better = better;
      Object.assign(better, {
        queue: [],
        owner: {
          onConnect: () => {
            if (!better.waitsForFirst) {
              this.leaveLesser();
            }
          },
          onFirst: () => this.leaveLesser(),
          onMessage: (message) => this.messages.push(message),
          onClose: onFailed,
        },
      });
      this.limit = new Limit(LONGEST_UPGRADE_ATTEMPT, () => better.fail());
      better.start();
    }

    leaveLesser() {
      this.isReady = true;
      this.limit.lift();
      this.limit = new Limit(LONGEST_FAREWELL, () => this.lesser.fail());
      this.lesser.queue = [];
      this.lesser.leave();
    }

    /** Leaves the better transport to the socket. */
    finish(queue, owner) {
      this.limit.lift();
      Object.assign(this.better, { queue, owner });
    }

    /** Leaves the socket to the lesser transport. One that was left already can't write any more, and has to end. */
    stop(queue) {
      if (!this.isReady) {
        this.limit.lift();
      }
      this.better.stop();
      this.lesser.queue = queue;
    }
  }

  // -- The transport that worked, remembered in a cookie --------------------------------------------------------------

  function isRemembered(type) {
    return ifAllowed(() => document.cookie.split('; ').includes('socketio=' + encodeURIComponent(type)));
  }

  function remember(type) {
    ifAllowed(() => {
      document.cookie = `socketio=${encodeURIComponent(type)}; path=/; SameSite=Lax`;
    });
  }

  function forgetRemembered() {
    ifAllowed(() => {
      document.cookie = 'socketio=; path=/; SameSite=Lax; max-age=0';
    });
  }

  // -- The socket -----------------------------------------------------------------------------------------------------

  /**
   * What a page holds: messages both ways and events, over one transport after another.
   *
   * Events: `connect`, `message` (message), `disconnect`, `connecting` (transport type), `connect_failed` (status, text),
   * `reconnecting` (delay, attempts), `reconnect` (transport type, attempts), `reconnect_failed` (status, text). Status and
   * text are those of the last refusal, undefined where a page can't see them: over websocket and jsonp-polling, or of a
   * server that can't be reached. The text is undefined, too, if it is none to be read as it is, as that of a page.
   *
   * A transport that is reached while reconnecting only has to do. The one that worked before is tried first the next time,
   * and also beside the lesser one; once that has succeeded, there is a `disconnect`, `connect` and `reconnect` as ever. The
   * server may send to both of its connections for a moment.
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
    #refusal = null;
    #isCrowded = false;
    #attempts = 0;
    #delay = 0;
    #connectedAt = 0;
    #isHurried = false;
    #timer;
    #limit = null;
    #upgrade = null;
    #owner = {
      onConnect: () => this.#onConnect(),
      onFirst: () => {},
      onMessage: (message) => this.#emit('message', message),
      onClose: () => this.#onClose(),
    };

    /**
     * @param {string} [host]  a name or an address, without scheme and port; by default the page's
     * @param {Object} [options]
     * @param {number|string} [options.port]  by default the page's
     * @param {boolean} [options.secure]  by default whether the page is
     * @param {string} [options.resource]  'socket.io', or one with extra parameters such as 'chat/123'
     * @param {string[]} [options.transports]  those to try, in this order; what can't work here is left out. Where other
     *     tabs have all streams that a browser has connections for, the others are tried instead of one, and in the end
     *     `xhr-polling`, even if it is not named
     * @param {Object} [options.transportOptions]  by type: `{'websocket': {timeout: 30000}}`
     * @param {number} [options.timeout]  15000 ms of silence after which a transport is dead; polls get longer
     * @param {number} [options.connectTimeout]  5000 ms for each transport
     * @param {boolean} [options.tryTransportsOnConnectTimeout]  whether to try the next when one does not connect
     * @param {boolean} [options.reconnect]  after an unwanted disconnect
     * @param {number} [options.reconnectionDelay]  500 ms, doubled each time; the delays are between half of that and
     *     the whole, so that the clients of a server that restarts don't come back all at once
     * @param {number} [options.maxReconnectionAttempts]  10
     * @param {boolean} [options.rememberTransport]  in the cookie `socketio`, to try it first next time; of transports
     *     that are reached while reconnecting nothing is remembered
     * @param {function} [options.firstMessage]  called for each connection: returns what is sent over it before all else,
     *     as `send` takes it, or a promise of that; nothing for undefined and null
     */
    constructor(host, options) {
      const given = Object.entries(options ?? {}).filter(([, value]) => value !== undefined && value !== null);
      const page = pageUrl();
      const secure = page.protocol === 'https:';
      this.options = { secure, ...DEFAULTS, ...Object.fromEntries(given) };
      this.options.port ??= page.port || (this.options.secure ? 443 : 80);
      this.host = hostOf(host || page.hostname);
      this.#url = `${this.options.secure ? 'https' : 'http'}://${this.host}:${this.options.port}/`
        + this.options.resource.replace(/^\/+|\/+$/g, '');
      this.connected = false;
      this.connecting = false;
      this.reconnecting = false;
      const [first] = this.#candidates();
      this.transport = first === undefined ? null : this.#createTransport(first);
    }

    /** Connects; while waiting for a reconnection, connects now. A page may say so each time that it is disconnected: of
     *  connections that don't last every other one waits for its delay all the same. */
    connect() {
      if (!this.connected && !this.connecting && !(this.reconnecting && this.#isHurried)) {
        this.#isHurried = this.reconnecting;
        this.#clearTimers();
        this.#watchPage();
        this.#startAttempt();
      }
      return this;
    }

    /** Sends text, anything that JSON can hold, or each element of an array; waits for `connect` if need be. */
    send(message) {
      encodeEach(message).forEach((each) => this.#queue.push(each));
      if (this.connected) {
        this.transport.flush();
      }
      return this;
    }

    /** Ends the connection and all attempts at one. What was sent before still goes out if it was connected. */
    disconnect() {
      const wasConnected = this.connected;
      this.#finishUpgrade();
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

    /** Each listener has an event target of its own, as browsers' events have: then libraries that keep track of what
     *  runs, such as Angular's zone.js, see who has added it, whatever tells the client of a message. */
    #addListener(name, listener, once) {
      const target = new EventTarget();
      target.addEventListener(name, ({ detail }) => listener.apply(this, detail));
      this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), { listener, once, target }]);
      return this;
    }

    #removeListeners(name, isMeant) {
      this.#listeners.set(name, (this.#listeners.get(name) ?? []).filter((each) => !isMeant(each)));
    }

    /** An exception in one listener is the browser's to report; it stops neither the others nor the transport. */
    #emit(name, ...detail) {
      for (const entry of this.#listeners.get(name) ?? []) {
        if (entry.once) {
          this.#removeListeners(name, (each) => each === entry);
        }
        entry.target.dispatchEvent(new CustomEvent(name, { detail }));
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
      const getFirst = this.options.firstMessage && (() => this.options.firstMessage());
      return new (TRANSPORTS.get(type))(this.#url, timeout, this.#queue, this.#owner, getFirst);
    }

    #startAttempt() {
      this.connecting = true;
      this.#refusal = null;
      this.#isCrowded = false;
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
      this.#limit = new Limit(this.options.connectTimeout, () => transport.fail());
      transport.start();
    }

    #onConnect() {
      const { transport } = this;
      this.#clearTimers();
      this.connecting = false;
      this.connected = true;
      this.#connectedAt = performance.now();
      if (!this.reconnecting) {
        this.#worked = transport.type;
        if (this.options.rememberTransport && !this.#isCrowded) {
          remember(transport.type);
        }
      }
      transport.flush();
      this.#emit('connect');
      if (this.reconnecting && !transport.ended) {
        this.reconnecting = false;
        this.#emit('reconnect', transport.type, this.#attempts);
      }
      if (this.connected && this.transport === transport) {
        this.#scheduleUpgrade(FIRST_UPGRADE_DELAY);
      }
    }

    #onClose() {
      this.#clearTimers();
      if (this.connecting) {
        this.#onAttemptFailed();
        return;
      }
      if (this.#upgrade?.isReady) {
        this.#changeTransport();
        return;
      }
      this.#stopUpgrade();
      this.connected = false;
      this.reconnecting = this.options.reconnect;
      if (performance.now() > this.#connectedAt + Math.max(this.#delay, SHORTEST_CONNECTION)) {
        this.#attempts = 0;
        this.#isHurried = false;
      }
      if (!this.reconnecting) {
        this.#rest();
      }
      this.#emit('disconnect');
      if (this.reconnecting && !this.connecting) {
        this.#scheduleReconnection();
      }
    }

    /** What is remembered stays so while reconnecting: it is for the server, or the network, that attempts fail then. */
    #onAttemptFailed() {
      const { type, refusal, lacksPlace } = this.transport;
      this.#refusal = refusal ?? this.#refusal;
      if (lacksPlace) {
        this.#leaveOutStreams();
      } else if (this.options.rememberTransport && !this.reconnecting && isRemembered(type)) {
        forgetRemembered();
      }
      if ((lacksPlace || this.options.tryTransportsOnConnectTimeout) && this.#untried.length > 0 && !this.#refusal?.isFinal) {
        this.#tryNext();
      } else {
        this.#giveUp();
      }
    }

    /** Other tabs have the streams. Polls have to do, also where the page has named none: they need no place. */
    #leaveOutStreams() {
      this.#isCrowded = true;
      const others = this.#untried.filter((type) => !TRANSPORTS.get(type).isStream);
      this.#untried = [...new Set([...others, XhrPolling.type])];
    }

    #giveUp() {
      this.connecting = false;
      if (!this.reconnecting) {
        this.#end('connect_failed');
      } else if (this.#refusal?.isFinal) {
        this.#end('reconnect_failed');
      } else {
        this.#scheduleReconnection();
      }
    }

    #end(event) {
      const { status, text } = this.#refusal ?? {};
      this.#rest();
      this.#emit(event, ...(status === undefined ? [] : [status, text]));
    }

    #scheduleReconnection() {
      this.#isHurried = false;
      if (this.#attempts >= this.options.maxReconnectionAttempts) {
        this.#end('reconnect_failed');
        return;
      }
      const longest = Math.min(this.options.reconnectionDelay * 2 ** this.#attempts, LONGEST_RECONNECTION_DELAY);
      this.#delay = jittered(longest);
      this.#attempts += 1;
      this.#timer = setTimeout(() => this.#startAttempt(), this.#delay);
      this.#emit('reconnecting', this.#delay, this.#attempts);
    }

    /** Plans to try the transport that worked, if the present one only had to do. */
    #scheduleUpgrade(delay) {
      const { transports } = this.options;
      const isLesser = transports.indexOf(this.#worked) < transports.indexOf(this.transport.type);
      if (isLesser && this.transport.canBeLeft) {
        this.#timer = setTimeout(() => this.#tryUpgrade(delay), jittered(delay));
      }
    }

    #tryUpgrade(delay) {
      this.#upgrade = new Upgrade(this.transport, this.#createTransport(this.#worked), () => {
        this.#stopUpgrade();
        this.#scheduleUpgrade(Math.min(delay * 2, LONGEST_UPGRADE_DELAY));
      });
    }

    /** The lesser transport has ended. To the page it is as any reconnection. */
    #changeTransport() {
      const { better, messages } = this.#takeUpgrade();
      this.transport = better;
      this.connected = false;
      this.connecting = true;
      this.reconnecting = true;
      this.#attempts = 0;
      this.#emit('disconnect');
      if (!better.ended) {
        this.#onConnect();
      }
      for (const message of messages) {
        if (!better.ended) {
          this.#emit('message', message);
        }
      }
    }

    #takeUpgrade() {
      const upgrade = this.#upgrade;
      this.#upgrade = null;
      upgrade.finish(this.#queue, this.#owner);
      return upgrade;
    }

    /** Ends an upgrade before its time, so that what waits for the better transport can go out. */
    #finishUpgrade() {
      if (this.#upgrade?.isReady) {
        this.transport.close();
        this.transport = this.#takeUpgrade().better;
      } else {
        this.#stopUpgrade();
      }
    }

    #stopUpgrade() {
      this.#upgrade?.stop(this.#queue);
      this.#upgrade = null;
    }

    #rest() {
      this.#clearTimers();
      this.#stopUpgrade();
      this.connected = false;
      this.connecting = false;
      this.reconnecting = false;
      this.#attempts = 0;
      this.#watchPage(false);
    }

    #clearTimers() {
      clearTimeout(this.#timer);
      this.#limit?.lift();
    }

    #watchPage(watches = true) {
      const change = watches ? 'addEventListener' : 'removeEventListener';
      globalThis[change]('pagehide', this.#suspend);
      globalThis[change]('pageshow', this.#wake);
      globalThis[change]('online', this.#wake);
      globalThis.document?.[change]('visibilitychange', this.#wake);
      globalThis.document?.[change]('resume', this.#wake);
    }

    /** The page is left. Should the browser keep it and show it again, timers go on: the socket begins its attempt anew,
     *  or waits for its reconnection, until it wakes. */
    #suspend = (event) => {
      if (!event.persisted && canHearUnload()) {
        this.transport?.prepareToUnload();
        window.addEventListener('unload', this.#unload);
        return;
      }
      this.#stopUpgrade();
      this.transport?.stop();
      if (this.connected) {
        this.#onClose();
      }
      // Perhaps only since a listener for `disconnect` has called connect(). The page still runs until it is frozen.
      if (this.connecting) {
        this.transport?.stop();
        this.#clearTimers();
        this.#timer = setTimeout(() => this.#startAttempt(), MOMENT);
      }
    };

    /** Ends with the page, behind all its own listeners: this one was added last. Had it been there before, the browser
     *  would not keep any page with a socket. */
    #unload = () => {
      this.#finishUpgrade();
      this.transport?.unload();
    };

    /** The page is shown again or is no longer frozen, or the network is back: the computer may have slept. */
    #wake = (event) => {
      if (event.type === 'visibilitychange' && document.visibilityState === 'hidden') {
        return;
      }
      if (this.connected) {
        this.transport.checkSilence();
      } else if (this.reconnecting && !this.connecting) {
        this.connect();
      }
    };
  }

  // -- The global -----------------------------------------------------------------------------------------------------

  Socket.prototype.addEvent = Socket.prototype.on;
  Socket.prototype.addListener = Socket.prototype.on;

  /** `JSONP` holds the transports that a server's `io.JSONP[INDEX]._("...");` may call, each at its index. */
  const io = { Socket, JSONP: [] };

  globalThis.io = io;
})();
