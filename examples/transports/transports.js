// The page of the transports example: a table of the six transports, and an echo over the one that is picked.

import { milliseconds } from './clock.js';

const element = (id) => document.getElementById(id);

const ROUND_TRIPS = 10;
const PATIENCE_MS = 15_000;

const needsFlash = () => 'Needs Flash Player, which browsers no longer have; Flash and AIR programs use it.';
const needsWebSocket = () => ('WebSocket' in window ? '' : 'This browser has no WebSocket.');
const needsStreams = () => ('ReadableStream' in window ? '' : 'This browser can not read a response while it arrives.');
const needsNothing = () => '';

// For each transport: how it works, and what keeps it from working in this browser.
const TRANSPORTS = {
  websocket: ['One connection, both ways.', needsWebSocket],
  flashsocket: ['A WebSocket made by a Flash movie.', needsFlash],
  'xhr-multipart': ['One response without end, in parts. A POST for each message.', needsStreams],
  'xhr-polling': ['A request that waits for news, then the next one. A POST for each message.', needsNothing],
  'jsonp-polling': ['The same with script elements, which any origin may load.', needsNothing],
  htmlfile: ['A page without end in a hidden frame, a script for each message.', needsNothing],
};

const bodies = {}; // of the table, one for each transport
const address = new URL(location.href);

// The table

function addRow(transport, [explanation, whyNot]) {
  const body = element('table').createTBody();
  const head = document.createElement('th');
  head.scope = 'row';
  head.textContent = transport;
  const row = body.insertRow();
  row.append(head);
  for (const name of ['here', 'connect', 'trip']) row.insertCell().className = name;
  const how = body.insertRow().insertCell();
  how.className = 'how';
  how.colSpan = 4;
  body.dataset.transport = transport;
  bodies[transport] = body;
  const reason = whyNot();
  showRow(transport, { state: reason ? 'no' : 'yes', here: reason ? 'no' : 'yes', how: reason || explanation });
}

function showRow(transport, { state, ...texts }) {
  bodies[transport].dataset.state = state;
  const blank = { here: '', connect: '', trip: '', how: TRANSPORTS[transport][0] };
  for (const [name, text] of Object.entries({ ...blank, ...texts })) {
    bodies[transport].querySelector(`.${name}`).textContent = text;
  }
}

function inMilliseconds(value) {
  return `${milliseconds(value)} ms`.replaceAll(' ', '\u00a0');
}

// The tests

async function testAll() {
  const transports = Object.keys(TRANSPORTS).filter((transport) => !TRANSPORTS[transport][1]());
  element('run').disabled = true;
  const results = [];
  for (const [index, transport] of transports.entries()) {
    element('progress').textContent = `Testing ${transport}, ${index + 1} of ${transports.length} …`;
    results.push(await test(transport));
  }
  element('progress').textContent = summary(results);
  element('run').disabled = false;
}

async function test(transport) {
  showRow(transport, { state: 'testing', here: '…' });
  try {
    const { connect, trip, sum } = await measure(transport);
    showRow(transport, { state: 'yes', here: 'yes', connect: inMilliseconds(connect), trip: inMilliseconds(trip) });
    return { transport, trip, sum };
  } catch (error) {
    showRow(transport, { state: 'failed', here: 'failed', how: error.message });
    return { transport, trip: null };
  }
}

function summary(results) {
  const working = results.filter(({ trip }) => trip !== null).sort((a, b) => a.trip - b.trip || a.sum - b.sum);
  if (working.length === 0) return 'None of them works at the moment.';
  const [{ transport, trip }] = working;
  return `${working.length} of ${results.length} work. The fastest is ${transport}, there and back in ${inMilliseconds(trip)}.`;
}

function measure(transport) {
  const socket = new io.Socket(location.hostname, { transports: [transport], rememberTransport: false, reconnect: false });
  const trips = [];
  let connect, sentAt;

  function send() {
    sentAt = performance.now();
    socket.send(`test ${trips.length}`);
  }

  const result = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('No answer in time.')), PATIENCE_MS);
    socket.on('connect_failed', () => reject(new Error('No connection.')));
    socket.on('disconnect', () => reject(new Error('The connection was lost.')));
    socket.on('connect', () => {
      connect = performance.now() - startedAt;
      send();
    });
    socket.on('message', (message) => {
      if (message !== `test ${trips.length}`) return; // the server's hello
      trips.push(performance.now() - sentAt);
      if (trips.length < ROUND_TRIPS) send();
      else resolve({ connect, trip: median(trips), sum: trips.reduce((sum, each) => sum + each) });
    });
  });
  const startedAt = performance.now();
  socket.connect();
  return result.finally(() => socket.disconnect());
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}

// The echo

let socket = null;
let waiting = []; // what was sent and has not come back, oldest first

function connect() {
  const former = socket;
  const transport = element('transport').value;
  const current = socket = new io.Socket(location.hostname, { transports: [transport], rememberTransport: false });
  const on = (event, handler) => current.on(event, (...details) => current === socket && handler(...details));
  on('connecting', () => showState('busy', socket.reconnecting ? 'Trying again…' : 'Connecting…'));
  on('connect', () => showState('on', `Connected, session ${socket.transport.sessionid.slice(0, 8)}…`));
  on('message', receive);
  on('disconnect', () => {
    showState('busy', 'Connection lost');
    giveUpWaiting();
  });
  on('reconnecting', (delay) => showState('busy', `Trying again in ${Math.ceil(delay / 1000)} s`, true));
  on('connect_failed', () => showState('off', 'No connection', true));
  on('reconnect_failed', () => showState('off', 'No connection', true));
  giveUpWaiting();
  socket.connect();
  if (former) former.disconnect();
}

function showState(state, text, mayRetry = false) {
  element('state').dataset.state = state;
  element('state').textContent = text;
  element('retry').hidden = !mayRetry;
}

function send(text) {
  waiting.push({ text, sentAt: performance.now(), note: show('own', text, 'on its way') });
  socket.send(text);
}

function receive(message) {
  const text = String(message);
  if (waiting.length === 0 || waiting[0].text !== text) {
    show('', text, `server, ${socket.transport.type}`);
    return;
  }
  const { sentAt, note } = waiting.shift();
  note.textContent = 'you';
  show('', text, `back after ${inMilliseconds(performance.now() - sentAt)}`);
}

function giveUpWaiting() {
  for (const { note } of waiting) note.textContent = 'never came back';
  waiting = [];
}

function show(className, text, note) {
  const item = document.createElement('li');
  const byline = document.createElement('p');
  const body = document.createElement('p');
  item.className = `message ${className}`;
  byline.className = 'byline muted';
  byline.textContent = note;
  body.className = 'text';
  body.textContent = text;
  item.append(byline, body);
  element('log').append(item);
  element('scroller').scrollTop = element('scroller').scrollHeight;
  return byline;
}

// Controls

element('run').addEventListener('click', testAll);
element('retry').addEventListener('click', () => socket.connect());

element('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = element('text').value;
  if (text) send(text);
  element('text').value = '';
  element('text').focus();
});

element('transport').addEventListener('change', () => {
  address.searchParams.set('transport', element('transport').value);
  history.replaceState(null, '', address);
  connect();
});

for (const [transport, description] of Object.entries(TRANSPORTS)) {
  addRow(transport, description);
  const option = new Option(transport);
  option.disabled = Boolean(description[1]());
  element('transport').add(option);
}

// A transport in the address is chosen at once: /?transport=xhr-polling

const wanted = [...element('transport').options].find((option) => option.value === address.searchParams.get('transport'));
if (wanted && !wanted.disabled) wanted.selected = true;
connect();
