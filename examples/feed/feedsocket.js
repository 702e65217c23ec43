// The page's end of the feed: a WebSocket, the frames of Socket.IO 0.6, and a new connection when one was lost.
//
// It is no `io.Socket`, which takes the first frame for its session id and marks what is JSON: in this feed the first
// frame is a greeting, and JSON has no mark. All the protocol there is fits on this page.

const SILENCE_MS = 25_000; // a heartbeat comes at least every 12 seconds
const STOOD_MS = 5000; // after which a connection counts as one that works
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;

export class FeedSocket {
  // `on` has four functions: state(state, text, mayRetry), greeting(greeting), message(message) and lost().
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.socket = null;
    this.greeted = false;
    this.attempts = 0;
    this.timer = 0;
    setInterval(() => this.checkSilence(), SILENCE_MS / 5);
  }

  connect() {
    clearTimeout(this.timer);
    if (this.socket) return;
    this.on.state('busy', 'Connecting…');
    this.attempts += 1;
    this.openedAt = this.heardAt = performance.now();
    const socket = this.socket = new WebSocket(this.url);
    socket.onmessage = ({ data }) => socket === this.socket && this.receive(data);
    socket.onclose = () => socket === this.socket && this.lose();
  }

  send(message) {
    if (this.greeted) this.socket.send(frame(JSON.stringify(message)));
  }

  receive(data) {
    this.heardAt = performance.now();
    try {
      for (const text of texts(data)) this.read(text);
    } catch (error) {
      console.error(error);
      this.lose();
    }
  }

  read(text) {
    if (text.startsWith('~h~')) {
      this.socket.send(frame(text));
      return;
    }
    const message = JSON.parse(text);
    if (this.greeted) {
      this.on.message(message);
      return;
    }
    this.greeted = true;
    this.on.state('on', 'Connected');
    this.on.greeting(message);
  }

  // What is behind a dead network answers no close either: such a socket is left to itself.
  lose() {
    const socket = this.socket;
    this.socket = null;
    if (this.greeted && performance.now() - this.openedAt > STOOD_MS) this.attempts = 0;
    const wasThere = this.greeted;
    this.greeted = false;
    socket.close();
    if (wasThere) this.on.lost();
    // Anywhere between at once and the delay, so that not all pages come back in the same moment.
    const delay = Math.random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(this.attempts, 10));
    this.timer = setTimeout(() => this.connect(), delay);
    this.on.state('busy', `No connection. Trying again in ${Math.ceil(delay / 1000)} s`, true);
  }

  checkSilence() {
    if (this.socket && performance.now() - this.heardAt > SILENCE_MS) this.lose();
  }
}

// LENGTH counts UTF-16 code units, as `length` does.
function frame(text) {
  return `~m~${text.length}~m~${text}`;
}

function* texts(data) {
  const header = /~m~([0-9]+)~m~/y;
  while (header.lastIndex < data.length) {
    const start = header.lastIndex;
    const found = header.exec(data);
    const end = header.lastIndex + Number(found?.[1]);
    if (!(end <= data.length)) throw new Error(`No frame at ${start} of ${data.length}: ${data.slice(start, start + 40)}`);
    yield data.slice(header.lastIndex, end);
    header.lastIndex = end;
  }
}
