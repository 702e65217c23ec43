// The page of the ping example. One message is on its way at a time; the server sends back what it gets.

import { milliseconds } from './clock.js';

const element = (id) => document.getElementById(id);

const PLOT_MS = 30_000;
const BIN_MS = 100;
const SAMPLES = 20_000; // the statistics are of the last so many round trips
const RATE_MS = 5000;
const choices = ['transport', 'size', 'pace'].map(element);
const address = new URL(location.href);
const calm = matchMedia('(prefers-reduced-motion: reduce)');

let socket = null;
let paused = false;
let pausedAt = 0;
let pausedFor = 0;
let timer = 0;
let ping = null; // the message on its way, and when it left
let sequence = 0;

let samples, count, startedAt, bins, statistics;
reset();

// The clock of the plot stands still while we pause.
function now() {
  return (paused ? pausedAt : performance.now()) - pausedFor;
}

// The connection

function connect() {
  const transport = element('transport').value;
  // A transport that was picked is not for the cookie, in which "automatic" remembers what worked.
  const options = transport ? { transports: [transport], rememberTransport: false } : {};
  const current = socket = new io.Socket(location.hostname, { ...options, maxReconnectionAttempts: Infinity });
  const on = (event, handler) => current.on(event, (...details) => current === socket && handler(...details));
  on('connecting', () => showState('busy', socket.reconnecting ? 'Trying again…' : 'Connecting…'));
  on('connect', () => {
    showState('on', `Connected · ${socket.transport.type}`);
    send();
  });
  on('message', receive);
  on('disconnect', () => {
    stop();
    showState('busy', 'Connection lost');
  });
  on('reconnecting', (delay) => showState('busy', `Trying again in ${Math.ceil(delay / 1000)} s`, true));
  on('connect_failed', () => showState('off', 'No connection', true));
  on('reconnect_failed', () => showState('off', 'No connection', true)); // it is refused: else it tries for ever
  socket.connect();
}

function reconnect() {
  stop();
  const former = socket;
  connect(); // first, so that of the former one nothing is heard any more
  former.disconnect();
}

function showState(state, text, mayRetry = false) {
  element('state').dataset.state = state;
  element('state').textContent = text;
  element('retry').hidden = !mayRetry;
}

// Round trips

function send() {
  clearTimeout(timer);
  if (paused || ping || !socket.connected) return;
  sequence += 1;
  const text = `${sequence} `.padEnd(Number(element('size').value), '.');
  ping = { text, sentAt: performance.now() };
  socket.send(text);
}

function receive(text) {
  if (!ping || text !== ping.text) return;
  const trip = performance.now() - ping.sentAt;
  ping = null;
  if (paused) return;
  note(trip);
  const pace = Number(element('pace').value);
  if (pace) timer = setTimeout(send, 1000 / pace - trip);
  else send();
}

function stop() {
  clearTimeout(timer);
  ping = null;
}

// Numbers

function reset() {
  samples = new Float64Array(SAMPLES);
  count = 0;
  startedAt = now();
  bins = [];
  statistics = null;
}

function note(trip) {
  samples[count % SAMPLES] = trip;
  count += 1;
  const start = Math.floor(now() / BIN_MS) * BIN_MS;
  let bin = bins[bins.length - 1];
  if (!bin || bin.start !== start) {
    bin = { start, count: 0, sum: 0, fastest: Infinity, slowest: 0 };
    bins.push(bin);
    while (bins[0].start < start - PLOT_MS) bins.shift();
  }
  bin.count += 1;
  bin.sum += trip;
  bin.fastest = Math.min(bin.fastest, trip);
  bin.slowest = Math.max(bin.slowest, trip);
}

function summarise() {
  const sorted = samples.slice(0, Math.min(count, SAMPLES)).sort();
  const rank = (share) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  return { minimum: rank(0), median: rank(0.5), percentile: rank(0.95), maximum: rank(1) };
}

function rate() {
  const since = Math.max(startedAt, now() - RATE_MS);
  const recent = bins.filter((bin) => bin.start >= since);
  const total = recent.reduce((sum, bin) => sum + bin.count, 0);
  return total / (now() - since) * 1000;
}

function showStatistics() {
  statistics = count ? summarise() : null;
  for (const id of ['minimum', 'median', 'percentile', 'maximum']) {
    showNumber(id, statistics && milliseconds(statistics[id]), 'ms');
  }
  element('count').textContent = count.toLocaleString('en');
  if (!paused) showNumber('rate', count && perSecond(rate()), '/s');
}

function showNumber(id, number, unit) {
  element(id).textContent = number || '–';
  if (!number) return;
  const small = document.createElement('small');
  small.textContent = ` ${unit}`;
  element(id).append(small);
}

function perSecond(value) {
  return value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en');
}

// The plot

const plot = element('plot');
const brush = plot.getContext('2d');
const edge = { left: 40, right: 8, top: 8, bottom: 24 };
let scale = 1; // milliseconds at the top

function draw() {
  const style = getComputedStyle(plot);
  const colour = (name) => style.getPropertyValue(`--${name}`);
  const ratio = devicePixelRatio;
  const { clientWidth, clientHeight } = plot;
  if (plot.width !== Math.round(clientWidth * ratio) || plot.height !== Math.round(clientHeight * ratio)) {
    plot.width = Math.round(clientWidth * ratio);
    plot.height = Math.round(clientHeight * ratio);
  }
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  brush.clearRect(0, 0, clientWidth, clientHeight);
  brush.font = `12px ${style.fontFamily}`;

  const right = clientWidth - edge.right;
  const bottom = clientHeight - edge.bottom;
  const time = now();
  const visible = bins.filter((bin) => bin.start > time - PLOT_MS);
  growScale(visible);
  const x = (moment) => right - (time - moment) / PLOT_MS * (right - edge.left);
  const y = (value) => bottom - value / scale * (bottom - edge.top);

  drawGrid({ right, bottom, y, colour });
  brush.save();
  brush.beginPath();
  brush.rect(edge.left, 0, right - edge.left, bottom + 1);
  brush.clip();
  drawBins({ visible, x, y, colour });
  if (statistics) {
    drawLevel(y(statistics.median), right, colour('median'));
    drawLevel(y(statistics.percentile), right, colour('percentile'));
  }
  brush.restore();
}

// The scale follows the slowest round trips in view, gently. A few spikes may leave it, else nothing else could be seen.
function growScale(visible) {
  const slowest = visible.map((bin) => bin.slowest).sort((a, b) => a - b);
  const goal = Math.max(1, 1.2 * (slowest[Math.floor(slowest.length * 0.97)] ?? 0));
  scale = calm.matches ? goal : scale + (goal - scale) * 0.12;
}

function drawGrid({ right, bottom, y, colour }) {
  const step = niceStep(scale / 4);
  brush.lineWidth = 1;
  brush.strokeStyle = colour('line');
  brush.fillStyle = colour('muted');
  brush.textAlign = 'right';
  brush.textBaseline = 'middle';
  for (let number = 0; number * step <= scale; number += 1) {
    const height = Math.round(y(number * step)) + 0.5;
    brush.beginPath();
    brush.moveTo(edge.left, height);
    brush.lineTo(right, height);
    brush.stroke();
    brush.fillText(String(Number((number * step).toPrecision(3))), edge.left - 8, height);
  }
  brush.textBaseline = 'alphabetic';
  const seconds = PLOT_MS / 1000;
  for (const ago of [0, 10, 20, seconds]) {
    brush.textAlign = ago === 0 ? 'right' : ago === seconds ? 'left' : 'center';
    const place = right - ago / seconds * (right - edge.left);
    brush.fillText(ago === 0 ? 'now' : `−${ago} s`, place, bottom + 18);
  }
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function drawBins({ visible, x, y, colour }) {
  const middle = (bin) => x(bin.start + BIN_MS / 2);
  const width = Math.max(2, x(BIN_MS) - x(0));
  brush.fillStyle = colour('range');
  for (const bin of visible) {
    const top = y(bin.slowest);
    brush.fillRect(middle(bin) - width / 2, top, width, Math.max(1, y(bin.fastest) - top));
  }
  brush.strokeStyle = colour('average');
  brush.lineWidth = 1.5;
  brush.lineJoin = 'round';
  brush.beginPath();
  let before = null;
  for (const bin of visible) {
    const point = [middle(bin), y(bin.sum / bin.count)];
    // While there is no connection, there is no line.
    if (before && bin.start - before.start < 3000) brush.lineTo(...point);
    else brush.moveTo(...point);
    before = bin;
  }
  brush.stroke();
}

function drawLevel(height, right, colour) {
  brush.strokeStyle = colour;
  brush.lineWidth = 1.25;
  brush.setLineDash([5, 4]);
  brush.beginPath();
  brush.moveTo(edge.left, height);
  brush.lineTo(right, height);
  brush.stroke();
  brush.setLineDash([]);
}

function animate() {
  if (!calm.matches) draw();
  requestAnimationFrame(animate);
}

setInterval(() => {
  showStatistics();
  if (calm.matches) draw();
}, 250);

// Controls

function startAgain() {
  reset();
  showStatistics();
}

function togglePause() {
  if (paused) pausedFor += performance.now() - pausedAt;
  else pausedAt = performance.now();
  paused = !paused;
  element('pause').textContent = paused ? 'Resume' : 'Pause';
  showStatistics();
  if (!paused) send();
}

function keepInAddress(choice) {
  address.searchParams.set(choice.id, choice.value);
  history.replaceState(null, '', address);
}

element('pause').addEventListener('click', togglePause);
element('reset').addEventListener('click', startAgain);
element('retry').addEventListener('click', () => socket.connect());
element('transport').addEventListener('change', () => {
  startAgain();
  reconnect();
});
element('size').addEventListener('change', startAgain);
element('pace').addEventListener('change', () => {
  startAgain();
  send();
});

// What the address says is chosen at once: /?transport=xhr-polling&size=1000&pace=0

for (const choice of choices) {
  const wanted = address.searchParams.get(choice.id);
  if ([...choice.options].some((option) => option.value === wanted)) choice.value = wanted;
  choice.addEventListener('change', () => keepInAddress(choice));
}

connect();
animate();
