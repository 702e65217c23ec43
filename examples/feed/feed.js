// The page of the feed. What page and server send each other stands at the head of feed.py.

import { Chart, formats } from './chart.js';
import { FeedSocket } from './feedsocket.js';

const element = (id) => document.getElementById(id);

const TRAIL = 48; // prices in a row of the list
const TRAIL_SECONDS = 5; // between two of them
const address = new URL(location.href);
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 2 });
const calm = matchMedia('(prefers-reduced-motion: reduce)');

const instruments = new Map(); // symbol -> what the server has said of it, the newest quote included
const rows = new Map(); // symbol -> its elements in the list
const changed = new Set(); // symbols whose row is to be painted
const subscribed = new Set(); // channels
let selected = address.searchParams.get('symbol') ?? '';
let quotes = 0; // since the rate was shown last
let frame = 0;

const url = new URL('socket.io/websocket', location.href);
url.protocol = url.protocol.replace('http', 'ws');
url.search = url.hash = '';

const socket = new FeedSocket(url, { state: showState, greeting: greet, message: receive, lost });
const chart = new Chart(element('chart'), readOut);

// The connection

function showState(state, text, mayRetry = false) {
  element('state').dataset.state = state;
  element('state').textContent = text;
  element('retry').hidden = !mayRetry;
}

function lost() {
  subscribed.clear();
  document.body.dataset.stale = '';
}

function greet({ symbols }) {
  makeRows(symbols);
  if (!symbols.includes(selected)) selected = symbols[0];
  mark();
  subscribe();
}

// A hidden page asks for no more than the price that its title shows.
function wantedChannels() {
  if (document.hidden) return [selected];
  return [selected, `${selected}@${interval()}`, ...rows.keys()];
}

function subscribe() {
  if (!selected) return;
  const wanted = new Set(wantedChannels());
  const unwanted = [...subscribed].filter((channel) => !wanted.has(channel));
  const missing = [...wanted].filter((channel) => !subscribed.has(channel));
  if (unwanted.length) socket.send({ m: 'unsubscribe', p: unwanted });
  if (missing.length) socket.send({ m: 'subscribe', p: missing });
  subscribed.clear();
  wanted.forEach((channel) => subscribed.add(channel));
}

function receive({ m: method, p: parameters }) {
  switch (method) {
    case 'instrument': return introduce(...parameters);
    case 'quote': return quote(...parameters);
    case 'history': return showHistory(...parameters);
    case 'bar': return showBar(...parameters);
    case 'error': return showProblem(parameters[1]);
  }
}

function showProblem(text) {
  element('problem').textContent = text;
  element('problem').hidden = !text;
}

// Instruments and quotes

function introduce(symbol, instrument) {
  const trailEnd = Math.floor(instrument.t / TRAIL_SECONDS);
  instruments.set(symbol, { ...instrument, trailEnd, format: formats(instrument.decimals, interval()).price });
  delete document.body.dataset.stale;
  paintLater(symbol);
}

function quote(symbol, news) {
  const instrument = instruments.get(symbol);
  if (!instrument) return;
  quotes += 1;
  const moved = Math.sign(news.last - instrument.last);
  Object.assign(instrument, news, moved && { moved });
  const { trail } = instrument;
  const end = Math.floor(news.t / TRAIL_SECONDS);
  if (end > instrument.trailEnd) trail.push(news.last);
  else trail[trail.length - 1] = news.last;
  trail.splice(0, trail.length - TRAIL);
  instrument.trailEnd = end;
  if (moved) flash(symbol, moved);
  paintLater(symbol);
}

// At most once for each frame of the screen, and not while the page is hidden: but for its title.
function paintLater(symbol) {
  changed.add(symbol);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    changed.forEach(paintRow);
    if (changed.has(selected)) paintHeadline();
    changed.clear();
  });
}

function makeRows(symbols) {
  if (symbols.join() === [...rows.keys()].join()) return;
  rows.clear();
  for (const symbol of symbols) rows.set(symbol, makeRow(symbol));
  element('watchlist').replaceChildren(...[...rows.values()].map(({ item }) => item));
}

function makeRow(symbol) {
  const item = document.createElement('li');
  const button = document.createElement('button');
  button.type = 'button';
  const part = (className) => {
    const span = document.createElement('span');
    span.className = className;
    button.append(span, ' ');
    return span;
  };
  const [title, name, price, change] = ['symbol', 'name', 'price', 'change'].map(part);
  title.textContent = symbol;
  const tick = document.createElement('span');
  tick.className = 'tick';
  tick.setAttribute('aria-hidden', 'true');
  const value = document.createTextNode('');
  price.append(tick, value);
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', `0 0 ${TRAIL - 1} 1`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const trail = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
  svg.append(trail);
  button.append(svg);
  button.addEventListener('click', () => select(symbol));
  item.append(button);
  return { item, button, name, price, tick, value, change, trail };
}

function paintRow(symbol) {
  const { name, tick, value, change, trail } = rows.get(symbol);
  const instrument = instruments.get(symbol);
  name.textContent = name.title = instrument.name;
  value.data = instrument.format(instrument.last);
  paintTick(tick, instrument);
  paintChange(change, instrument, false);
  trail.setAttribute('points', trailPoints(instrument.trail));
  turn(trail, instrument.last - instrument.trail[0]);
}

function trailPoints(trail) {
  const low = Math.min(...trail);
  const span = Math.max(...trail) - low || 1;
  const first = TRAIL - trail.length;
  return trail.map((price, index) => `${first + index},${(1 - (price - low) / span).toFixed(3)}`).join(' ');
}

function paintTick(target, { moved = 0 }) {
  target.textContent = ['▼', '', '▲'][moved + 1];
  turn(target, moved);
}

function paintChange(target, { last, open, format }, withAmount) {
  const change = last - open;
  const sign = change < 0 ? '−' : '+';
  const amount = withAmount ? `${sign}${format(Math.abs(change))} · ` : '';
  target.textContent = `${amount}${sign}${Math.abs(change / open * 100).toFixed(2)} %`;
  turn(target, change);
}

function turn(target, direction) {
  target.classList.toggle('rise', direction > 0);
  target.classList.toggle('fall', direction < 0);
}

function paintHeadline() {
  const instrument = instruments.get(selected);
  element('symbol').textContent = selected;
  element('name').textContent = instrument.name;
  element('price').textContent = instrument.format(instrument.last);
  paintTick(element('tick'), instrument);
  paintChange(element('change'), instrument, true);
  element('bid').textContent = instrument.format(instrument.bid);
  element('ask').textContent = instrument.format(instrument.ask);
  element('volume').textContent = compact.format(instrument.volume);
}

// A price that moved lights up for a moment.
function flash(symbol, moved) {
  if (calm.matches || document.hidden) return;
  const colour = getComputedStyle(document.body).getPropertyValue(moved > 0 ? '--up' : '--down');
  animate(rows.get(symbol).price, 'backgroundColor', [`color-mix(in srgb, ${colour} 28%, transparent)`, 'transparent']);
  if (symbol === selected) animate(element('price'), 'color', [colour, getComputedStyle(document.body).color]);
}

function animate(target, property, values) {
  target.getAnimations().forEach((animation) => animation.cancel());
  target.animate({ [property]: values }, { duration: 700, easing: 'ease-out' });
}

function showTitle() {
  const instrument = instruments.get(selected);
  document.title = instrument ? `${selected} ${instrument.format(instrument.last)} · Feed` : 'Feed';
}

setInterval(() => {
  element('rate').textContent = socket.greeted ? `${quotes} quotes/s` : '';
  quotes = 0;
  showTitle();
}, 1000);

// Bars

function interval() {
  return Number(new FormData(element('tools')).get('interval'));
}

function showHistory(channel, bars) {
  if (channel !== `${selected}@${interval()}`) return;
  const { decimals } = instruments.get(selected);
  chart.setBars(bars, { decimals, interval: interval() });
}

function showBar(channel, bar) {
  if (channel === `${selected}@${interval()}` && chart.bars.length) chart.update(bar);
}

// The values of the bar under the crosshair, or of the last one: for the eye in the readout, and for others in the canvas.
function readOut(bar, bars) {
  if (!bar) return;
  const [time, ...prices] = bar;
  const volume = compact.format(prices.pop());
  const texts = [...prices.map(chart.formats.price), volume];
  [...element('readout').querySelectorAll('dd')].forEach((target, index) => (target.textContent = texts[index]));
  turn(element('readout'), bar[4] - bar[1]);
  const [open, high, low, close] = texts;
  const canvas = element('chart');
  canvas.setAttribute('aria-valuemax', bars.length);
  canvas.setAttribute('aria-valuenow', bars.indexOf(bar) + 1);
  // Of the last bar, which changes with each trade, the news would never end.
  const text = `${chart.formats.exactTime(time)}: open ${open}, high ${high}, low ${low}, close ${close}, volume ${volume}`;
  if (chart.pointed || document.activeElement !== canvas) canvas.setAttribute('aria-valuetext', text);
}

// Controls

function select(symbol) {
  if (symbol === selected) return;
  selected = symbol;
  keepInAddress('symbol', symbol);
  mark();
  subscribe();
}

function mark() {
  for (const [symbol, { button }] of rows) button.setAttribute('aria-current', symbol === selected);
  element('chart').setAttribute('aria-label', `Bars of ${selected}, read with the arrow keys`);
  if (instruments.has(selected)) paintHeadline();
  showTitle();
}

function keepInAddress(name, value) {
  address.searchParams.set(name, value);
  history.replaceState(null, '', address);
}

function zoom(steps) {
  const { mayZoomIn, mayZoomOut } = chart.zoom(steps);
  element('zoom-in').disabled = !mayZoomIn;
  element('zoom-out').disabled = !mayZoomOut;
}

element('tools').addEventListener('change', ({ target }) => {
  keepInAddress(target.name, target.value);
  if (target.name === 'style') chart.setStyle(target.value);
  else subscribe();
});
element('zoom-in').addEventListener('click', () => zoom(1));
element('zoom-out').addEventListener('click', () => zoom(-1));
element('chart').addEventListener('keydown', ({ key }) => {
  if (key === '+') zoom(1);
  if (key === '-') zoom(-1);
});
element('watchlist').addEventListener('keydown', (event) => {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  const buttons = [...rows.values()].map(({ button }) => button);
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  if (!next) return;
  next.focus();
  event.preventDefault();
});
element('retry').addEventListener('click', () => socket.connect());
addEventListener('online', () => socket.connect());
document.addEventListener('visibilitychange', () => {
  subscribe();
  if (!document.hidden) socket.connect();
});

// What the address says is chosen at once: /?symbol=OTTER&interval=15&style=line

for (const name of ['interval', 'style']) {
  const wanted = [...element('tools').elements[name]].find(({ value }) => value === address.searchParams.get(name));
  if (wanted) wanted.checked = true;
}
chart.setStyle(new FormData(element('tools')).get('style'));
socket.connect();
