// The live page: samples come by themselves, pages of the table and groups are asked for, texts are only ever text.

'use strict';

(() => {
  const MINUTES = 10;
  const REFRESH = 2000; // milliseconds between two looks at the table and the groups
  const GAP = 3.5; // intervals between two samples of a process, above which there is no line between them
  const COLOURS = 8;
  const ROWS = 50;
  const GROUPS = 100;
  const COLUMNS = [
    // name, title, whether it is a number, whether its largest value comes first
    ['id', 'Id', false, false],
    ['transport', 'Transport', false, false],
    ['address', 'Address', false, false],
    ['age', 'Age', true, false],
    ['received', 'Received', true, true],
    ['sent', 'Sent', true, true],
    ['queue', 'Queue', true, true],
    ['groups', 'Groups', false, true],
  ];

  const $ = (id) => document.getElementById(id);

  // -- Texts ----------------------------------------------------------------------------------------------------------

  const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
  const tenths = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

  function count(value) {
    if (value === null || value === undefined) return '–';
    if (value >= 1e6) return `${tenths.format(value / 1e6)}M`;
    if (value >= 1e4) return `${tenths.format(value / 1e3)}k`;
    return value < 10 && value % 1 ? tenths.format(value) : whole.format(value);
  }

  function bytes(value) {
    if (value === null || value === undefined) return '–';
    for (const unit of ['B', 'KB', 'MB', 'GB']) {
      if (value < 1000 || unit === 'GB') return `${unit === 'B' ? whole.format(value) : tenths.format(value)} ${unit}`;
      value /= 1000;
    }
  }

  function seconds(value) {
    if (value === null || value === undefined) return '–';
    if (value >= 1) return `${tenths.format(value)} s`;
    const milliseconds = value * 1000;
    return `${milliseconds < 10 ? tenths.format(milliseconds) : whole.format(milliseconds)} ms`;
  }

  function age(since) {
    const total = Math.max(0, Math.round(now() - since));
    const [days, hours, minutes] = [Math.floor(total / 86400), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60];
    if (days) return `${days} d ${hours} h`;
    if (hours) return `${hours} h ${minutes} min`;
    return minutes ? `${minutes} min ${total % 60} s` : `${total} s`;
  }

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === 'class') made.className = value;
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  function drawn(name, attributes) {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  // -- Samples --------------------------------------------------------------------------------------------------------

  const state = {
    rights: 'read',
    interval: 2,
    bounds: [],
    lag: 0, // seconds by which this clock is ahead of the server's
    router: '',
    process: '',
    lines: 'together',
    // By round, the time at which samples were asked for: points by process, of the router that is shown.
    rounds: new Map(),
    last: new Map(), // samples, the latest by process and router
    lastPoints: new Map(), // the points of these
    names: new Map(), // of processes
    routers: [],
  };

  const now = () => Date.now() / 1000 - state.lag;

  // What was added to a histogram: its mean, and the bound of the bucket that the slowest are in.
  function spread([counts, sum], [earlierCounts, earlierSum]) {
    let total = 0;
    let highest = 0;
    counts.forEach((each, bucket) => {
      const added = each - earlierCounts[bucket];
      total += added;
      if (added > 0) highest = state.bounds[Math.min(bucket, state.bounds.length - 1)];
    });
    return total > 0 ? { mean: Math.max(0, (sum - earlierSum) / total), highest } : { mean: null, highest: null };
  }

  // What is plotted, of a sample and the one before it.
  function pointOf(sample, earlier) {
    const elapsed = earlier ? sample.clock - earlier.clock : 0;
    const isNext = elapsed > 0 && elapsed < GAP * state.interval && sample.messages[0] >= earlier.messages[0];
    const rate = (name, index) => (isNext ? (sample[name][index] - earlier[name][index]) / elapsed : null);
    const trips = isNext ? spread(sample.round_trips, earlier.round_trips) : { mean: null, highest: null };
    const lag = isNext ? spread(sample.lag, earlier.lag) : { mean: null, highest: null };
    return {
      connections: Object.values(sample.connections).reduce((sum, each) => sum + each, 0),
      transports: sample.connections,
      messagesIn: rate('messages', 0),
      messagesOut: rate('messages', 1),
      bytesIn: rate('bytes', 0),
      bytesOut: rate('bytes', 1),
      trip: trips.mean,
      slowTrip: trips.highest,
      queued: sample.queued,
      largest: sample.largest,
      lag: lag.mean,
      highLag: lag.highest,
    };
  }

  function take(sample) {
    const key = `${sample.process} ${sample.router}`;
    const earlier = state.last.get(key);
    state.last.set(key, sample);
    state.names.set(sample.process, sample.name);
    if (!state.routers.includes(sample.router)) {
      state.routers.push(sample.router);
      showRouters();
    }
    let round = state.rounds.get(sample.at);
    if (!round) {
      round = new Map();
      state.rounds.set(sample.at, round);
      for (const at of state.rounds.keys()) {
        if (at >= sample.at - MINUTES * 60) break;
        state.rounds.delete(at);
      }
    }
    // Of two samples of one moment, for two onlookers at different processes, the second has no rates of its own.
    const point = earlier?.clock === sample.clock ? state.lastPoints.get(key) : pointOf(sample, earlier);
    state.lastPoints.set(key, point);
    round.set(key, point);
  }

  // The processes of the router that is shown, each with the number of its colour.
  function processes() {
    const found = new Map();
    for (const round of state.rounds.values()) {
      for (const key of round.keys()) {
        const [process, router] = key.split(' ');
        if (router === state.router && !found.has(process)) found.set(process, 0);
      }
    }
    const sorted = [...found.keys()].sort((a, b) => state.names.get(a).localeCompare(state.names.get(b), 'en', { numeric: true }));
    return new Map(sorted.map((process, index) => [process, index % COLOURS]));
  }

  function add(a, b) {
    return a === null || a === undefined ? b : b === null || b === undefined ? a : a + b;
  }

  function most(a, b) {
    return a === null || a === undefined ? b : b === null || b === undefined ? a : Math.max(a, b);
  }

  // -- Plots ----------------------------------------------------------------------------------------------------------

  const sumOf = (name) => (points) => points.map((point) => point[name]).reduce(add, null);
  const mostOf = (name) => (points) => points.map((point) => point[name]).reduce(most, null);
  function meanOf(name) {
    return (points) => {
      const values = points.map((point) => point[name]).filter((value) => value !== null);
      return values.length ? values.reduce(add) / values.length : null;
    };
  }

  // Each with its lines when all processes are taken together, and the one value that a process has a line of.
  const PLOTS = [
    {
      title: 'Connections',
      text: count,
      headline: sumOf('connections'),
      lines: 'transports',
      own: sumOf('connections'),
    },
    {
      title: 'Messages a second',
      text: count,
      headline: sumOf('messagesOut'),
      unit: 'out',
      lines: [['out', sumOf('messagesOut')], ['in', sumOf('messagesIn')]],
      own: (points) => add(sumOf('messagesIn')(points), sumOf('messagesOut')(points)),
    },
    {
      title: 'Bytes a second',
      text: bytes,
      headline: sumOf('bytesOut'),
      unit: 'out',
      lines: [['out', sumOf('bytesOut')], ['in', sumOf('bytesIn')]],
      own: (points) => add(sumOf('bytesIn')(points), sumOf('bytesOut')(points)),
    },
    {
      title: 'Heartbeat round trip',
      text: seconds,
      headline: meanOf('trip'),
      unit: 'mean',
      lines: [['mean', meanOf('trip')], ['slowest', mostOf('slowTrip')]],
      own: meanOf('trip'),
    },
    {
      title: 'Queued for clients',
      text: bytes,
      headline: sumOf('queued'),
      lines: [['all', sumOf('queued')], ['largest queue', mostOf('largest')]],
      isFilled: true, // below the first line: where the second is as high and covers it, the first is seen still
      own: sumOf('queued'),
    },
    {
      title: 'Event loop lag',
      text: seconds,
      headline: mostOf('highLag'),
      unit: 'at most',
      lines: [['at most', mostOf('highLag')], ['mean', meanOf('lag')]],
      own: mostOf('highLag'),
    },
  ];

  class Plot {
    constructor(kind, index) {
      this.kind = kind;
      this.lines = [];
      this.pointed = null; // the index of the round under the crosshair
      this.now = element('p', { class: 'now' });
      this.canvas = element('div', {
        class: 'canvas', tabindex: 0, role: 'slider', 'aria-label': `${kind.title}, read with the arrow keys`,
        'aria-valuemin': 0, 'aria-valuemax': 0, 'aria-valuenow': 0,
      });
      this.svg = drawn('svg', { 'aria-hidden': 'true' });
      this.legend = element('dl', { class: 'legend' });
      this.canvas.append(this.svg);
      this.root = element('article', { class: 'card plot', 'aria-labelledby': `plot-${index}` },
        element('h3', { id: `plot-${index}` }, kind.title), this.now, this.canvas, this.legend);
      this.canvas.addEventListener('pointermove', (event) => this.follow(event));
      this.canvas.addEventListener('pointerdown', (event) => this.follow(event));
      this.canvas.addEventListener('pointerleave', () => this.point(null));
      this.canvas.addEventListener('blur', () => this.point(null));
      this.canvas.addEventListener('keydown', (event) => this.press(event));
      new ResizeObserver(() => this.draw()).observe(this.canvas);
    }

    // The rounds of the last ten minutes, each a time and the points of the processes that are shown.
    show(rounds, shown) {
      this.rounds = rounds;
      const { kind } = this;
      const all = ([, points]) => [...points.values()];
      if (state.lines === 'process') {
        this.lines = [...shown].map(([process, colour]) => ({
          name: state.names.get(process),
          colour,
          values: rounds.map(([, points]) => (points.has(process) ? kind.own([points.get(process)]) : null)),
        }));
      } else if (kind.lines === 'transports') {
        const names = [...new Set(rounds.flatMap((round) => all(round).flatMap((point) => Object.keys(point.transports))))].sort();
        this.lines = names.map((name, index) => ({
          name,
          colour: index % COLOURS,
          values: rounds.map((round) => (all(round).length
            ? all(round).reduce((sum, point) => sum + (point.transports[name] ?? 0), 0) : null)),
        }));
      } else {
        this.lines = kind.lines.map(([name, value], index) => ({
          name, colour: index, values: rounds.map((round) => value(all(round))),
        }));
      }
      const last = rounds.at(-1);
      const value = last ? kind.headline(all(last)) : null;
      const shownValue = value ?? this.lastHeadline(rounds, all);
      this.now.replaceChildren(kind.text(shownValue));
      if (kind.unit) this.now.append(' ', element('small', {}, kind.unit));
      this.draw();
    }

    // Heartbeats come every twelve seconds: a sample may be without one.
    lastHeadline(rounds, all) {
      for (const round of rounds.slice(-15).reverse()) {
        const value = this.kind.headline(all(round));
        if (value !== null) return value;
      }
      return null;
    }

    get isStacked() {
      return this.kind.lines === 'transports' && state.lines === 'together';
    }

    hasArea(line) {
      return this.isStacked || this.lines.length === 1
        || (this.kind.isFilled && state.lines === 'together' && line === this.lines[0]);
    }

    draw() {
      const { clientWidth: width, clientHeight: height } = this.canvas;
      if (!this.rounds || !width || !height) return;
      const bottom = height - 18;
      const end = Math.max(this.rounds.at(-1)?.[0] ?? 0, now());
      const start = end - MINUTES * 60;
      const x = (at) => ((at - start) / (MINUTES * 60)) * width;
      const tops = this.rounds.map((_, index) => (this.isStacked
        ? this.lines.reduce((sum, line) => sum + (line.values[index] ?? 0), 0)
        : Math.max(0, ...this.lines.map((line) => line.values[index] ?? 0))));
      const most = nice(Math.max(0, ...tops), this.kind.text);
      const y = (value) => bottom - (value / most) * (bottom - 14);
      const parts = [];
      const labels = []; // above the lines
      for (const share of [0, 0.5, 1]) {
        const height = Math.round(y(most * share)) + 0.5;
        parts.push(drawn('line', { class: 'gridline', x1: 0, x2: width, y1: height, y2: height }));
        if (share) {
          const label = drawn('text', { x: 0, y: height - 3 });
          label.textContent = this.kind.text(most * share);
          labels.push(label);
        }
      }
      for (const [minutes, anchor] of [[10, 'start'], [5, 'middle'], [0, 'end']]) {
        if (minutes === 5 && width < 260) continue;
        const label = drawn('text', { x: width * (1 - minutes / MINUTES), y: height - 4, 'text-anchor': anchor });
        label.textContent = minutes ? `${minutes} min ago` : 'now';
        labels.push(label);
      }
      const below = this.rounds.map(() => 0);
      for (const line of this.lines) {
        const runs = this.runs(line);
        for (const run of runs) {
          const upper = run.map((index) => `${x(this.rounds[index][0]).toFixed(1)},${y(line.values[index] + (this.isStacked ? below[index] : 0)).toFixed(1)}`);
          if (this.hasArea(line)) {
            const lower = run.map((index) => `${x(this.rounds[index][0]).toFixed(1)},${y(this.isStacked ? below[index] : 0).toFixed(1)}`).reverse();
            parts.push(drawn('polygon', { class: `area s${line.colour}`, points: [...upper, ...lower].join(' ') }));
          }
          if (run.length === 1) upper.push(upper[0]);
          parts.push(drawn('polyline', { class: `line s${line.colour}`, points: upper.join(' ') }));
        }
        if (this.isStacked) line.values.forEach((value, index) => { below[index] += value ?? 0; });
      }
      if (this.pointed !== null && this.rounds[this.pointed]) {
        const at = x(this.rounds[this.pointed][0]);
        parts.push(drawn('line', { class: 'cross', x1: at, x2: at, y1: 0, y2: bottom }));
        let sum = 0;
        for (const line of this.lines) {
          const value = line.values[this.pointed];
          if (value === null) continue;
          sum += value;
          parts.push(drawn('circle', { class: `dot s${line.colour}`, cx: at, cy: y(this.isStacked ? sum : value), r: 3.5 }));
        }
      }
      this.svg.replaceChildren(...parts, ...labels);
      this.explain();
    }

    // The pieces of a line: where samples are missing there is none. Values that come seldom are joined.
    runs(line) {
      const runs = [];
      let run = [];
      let last = -Infinity;
      line.values.forEach((value, index) => {
        if (value === null || value === undefined) return;
        const at = this.rounds[index][0];
        if (at - last > 15 && run.length) {
          runs.push(run);
          run = [];
        }
        run.push(index);
        last = at;
      });
      if (run.length) runs.push(run);
      return runs;
    }

    explain() {
      const at = this.pointed ?? this.rounds.length - 1;
      const items = this.lines.map((line) => {
        let value = line.values[at];
        for (let back = at; this.pointed === null && (value === null || value === undefined) && back > at - 8 && back >= 0; back -= 1) {
          value = line.values[back];
        }
        return [line, value];
      });
      this.legend.replaceChildren(...items.map(([line, value]) => element('div', {},
        element('dt', { class: `swatch s${line.colour}` }, line.name),
        element('dd', {}, this.kind.text(value)))));
      const moment = this.rounds[at] ? `${Math.max(0, Math.round(now() - this.rounds[at][0]))} seconds ago: ` : '';
      this.canvas.setAttribute('aria-valuemax', Math.max(0, this.rounds.length - 1));
      this.canvas.setAttribute('aria-valuenow', Math.max(0, at));
      this.canvas.setAttribute('aria-valuetext',
        moment + (items.map(([line, value]) => `${line.name} ${this.kind.text(value)}`).join(', ') || 'nothing yet'));
    }

    follow(event) {
      if (!this.rounds?.length) return;
      const end = Math.max(this.rounds.at(-1)[0], now());
      const at = end - MINUTES * 60 * (1 - event.offsetX / this.canvas.clientWidth);
      let nearest = 0;
      this.rounds.forEach(([each], index) => {
        if (Math.abs(each - at) < Math.abs(this.rounds[nearest][0] - at)) nearest = index;
      });
      this.point(nearest);
    }

    press(event) {
      const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -15, PageUp: 15, Home: -Infinity, End: Infinity };
      if (event.altKey || event.ctrlKey || event.metaKey || !this.rounds?.length) return;
      if (event.key in moves) {
        const last = this.rounds.length - 1;
        this.point(Math.max(0, Math.min(last, (this.pointed ?? last) + moves[event.key])));
      } else if (event.key === 'Escape') {
        this.point(null);
      } else {
        return;
      }
      event.preventDefault();
    }

    point(index) {
      this.pointed = index;
      this.draw();
    }
  }

  // The smallest of 1, 2, 4, 5 or 10 times a power of ten that is not below a value.
  function nice(value, text) {
    const least = text === seconds ? 0.001 : text === bytes ? 100 : 4;
    if (value <= least) return least;
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 4, 5, 8, 10].map((factor) => factor * power).find((each) => each >= value);
  }

  const plots = PLOTS.map((kind, index) => new Plot(kind, index));
  $('plots').append(...plots.map((plot) => plot.root));

  function redraw() {
    const colours = processes();
    const shown = new Map([...colours].filter(([process]) => !state.process || process === state.process));
    const rounds = [...state.rounds].map(([at, round]) => {
      const points = new Map();
      for (const process of shown.keys()) {
        const point = round.get(`${process} ${state.router}`);
        if (point) points.set(process, point);
      }
      return [at, points];
    }).sort(([a], [b]) => a - b);
    // A round whose last answers are still to come would be a dip in every sum.
    const last = rounds.at(-1);
    const isWhole = !last || last[1].size >= (rounds.at(-2)?.[1].size ?? 0) || now() - last[0] > state.interval;
    for (const plot of plots) plot.show(isWhole ? rounds : rounds.slice(0, -1), shown);
    showProcesses(colours);
  }

  let isDue = false;
  function redrawSoon() {
    if (isDue) return;
    isDue = true;
    setTimeout(() => requestAnimationFrame(() => {
      isDue = false;
      redraw();
    }), 60); // the samples of all processes come within some milliseconds
  }

  // -- Routers and processes ------------------------------------------------------------------------------------------

  function showRouters() {
    $('router').replaceChildren(...state.routers.map((router) => element('option', { value: router }, `/${router}`)));
    if (!state.routers.includes(state.router)) state.router = state.routers[0] ?? '';
    $('router').value = state.router;
    $('router-choice').hidden = state.routers.length < 2;
  }

  function showProcesses(colours) {
    const options = ['', ...colours.keys()];
    const select = $('process');
    if ([...select.options].map((option) => option.value).join() !== options.join()) {
      select.replaceChildren(...options.map((process) => element('option', { value: process }, process ? state.names.get(process) : 'all')));
      if (!options.includes(state.process)) state.process = '';
      select.value = state.process;
    }
    const newest = Math.max(...state.rounds.keys());
    const rows = [...colours].map(([process, colour]) => {
      const sample = state.last.get(`${process} ${state.router}`);
      return { sample, colour, point: latest(process), isGone: newest - sample.at > GAP * state.interval };
    }).sort((a, b) => a.isGone - b.isGone).map(processRow);
    $('processes').tBodies[0].replaceChildren(...rows);
    $('processes-count').textContent = rows.length;
  }

  function processRow({ sample, colour, point, isGone }) {
    const known = isGone ? {} : point;
    const [open, limit] = isGone ? [null, null] : sample.descriptors;
    const bus = isGone ? null : sample.bus;
    const name = element('td', { role: 'cell', class: `swatch s${colour}` }, element('span', {}, sample.name));
    const values = [
      [count(known.connections)],
      [count(known.messagesIn)],
      [count(known.messagesOut)],
      [seconds(known.trip), known.trip > 1],
      [bytes(known.queued)],
      [seconds(known.highLag), known.highLag >= 0.25],
      [open === null ? '–' : `${count(open)}${limit ? ` of ${count(limit)}` : ''}`, limit && open > 0.8 * limit],
      [busText(bus), bus?.up === false],
    ];
    const heads = $('processes').tHead.rows[0].cells;
    const row = element('tr', { role: 'row' }, name, ...values.map(([text, isBad], index) => {
      const head = heads[index + 1];
      const cell = element('td', { role: 'cell', class: head.className, 'data-label': head.textContent }, text);
      cell.classList.toggle('warn', Boolean(isBad));
      return cell;
    }));
    row.toggleAttribute('data-gone', isGone);
    if (isGone || sample.draining) name.append(element('span', { class: 'tag' }, isGone ? 'no answer' : 'draining'));
    return row;
  }

  function busText(bus) {
    if (!bus) return '–';
    const state = bus.up === null ? 'not known yet' : bus.up ? 'up' : 'down';
    return bus.dropped ? `${state}, ${count(bus.dropped)} dropped` : state;
  }

  // The last values of a process; of those that come seldom, the last that came.
  function latest(process) {
    const found = {};
    const rounds = [...state.rounds].sort(([a], [b]) => b - a).slice(0, 15);
    for (const [, round] of rounds) {
      const point = round.get(`${process} ${state.router}`);
      if (!point) continue;
      for (const [name, value] of Object.entries(point)) found[name] ??= value;
    }
    return found;
  }

  // -- Questions ------------------------------------------------------------------------------------------------------

  const socket = new io.Socket(null, {
    // Beside this page, also where a proxy has put it below another path.
    resource: new URL('socket', location.href).pathname.slice(1),
    transports: ['websocket', 'xhr-polling'],
    rememberTransport: false,
    maxReconnectionAttempts: 1e9,
  });
  const waiting = new Map(); // by number: what is called with the answer
  let number = 0;

  function ask(question) {
    number += 1;
    const own = number;
    return new Promise((resolve) => {
      waiting.set(own, resolve);
      socket.send({ ...question, number: own });
    });
  }

  // One look at a time, and one more when it is over if something has changed meanwhile.
  function looker(look) {
    let isBusy = false;
    let isWanted = false;
    return async function again() {
      if (!socket.connected || document.hidden) return;
      if (isBusy) {
        isWanted = true;
        return;
      }
      isBusy = true;
      await look();
      isBusy = false;
      if (isWanted) {
        isWanted = false;
        again();
      }
    };
  }

  const visible = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) visible.add(entry.target.id);
      else visible.delete(entry.target.id);
      if (entry.isIntersecting && entry.target.id === 'groups') lookAtGroups();
      else if (entry.isIntersecting) lookAtTable();
    }
  });
  watcher.observe($('groups'));
  watcher.observe($('connections'));

  // -- Groups ---------------------------------------------------------------------------------------------------------

  const lookAtGroups = looker(async () => {
    const text = $('groups-filter').value.trim().toLowerCase();
    const answer = await ask({ type: 'groups', router: state.router, text, limit: GROUPS });
    if (!answer?.groups) return;
    const list = $('groups-list');
    const most = answer.groups[0]?.[1] ?? 1;
    answer.groups.forEach(([name, size], index) => {
      let item = list.children[index];
      if (!item) {
        const rect = drawn('rect', { width: '0', height: '100%' });
        const svg = drawn('svg', { 'aria-hidden': 'true' });
        svg.append(rect);
        item = element('li', {}, element('button', { type: 'button' }, svg, element('span'), element('span')));
        list.append(item);
      }
      const [svg, label, value] = item.firstChild.children;
      svg.firstChild.setAttribute('width', `${(100 * size) / most}%`);
      label.textContent = name;
      value.textContent = whole.format(size);
      item.firstChild.setAttribute('aria-label', `${name}, ${size} members: show them`);
    });
    while (list.children.length > answer.groups.length) list.lastChild.remove();
    $('groups-count').textContent = answer.total > answer.groups.length ? `the largest ${answer.groups.length} of ${whole.format(answer.total)}` : whole.format(answer.total);
    $('groups-none').hidden = answer.groups.length > 0;
    $('groups-none').textContent = text ? 'No group has such a name.' : 'No group has members.';
  });

  $('groups-list').addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    $('filter').value = button.children[1].textContent;
    turn({});
    $('connections').scrollIntoView({ block: 'start' });
    $('filter').focus();
  });

  // -- The table ------------------------------------------------------------------------------------------------------

  const table = { sort: 'queue', descending: true, cursor: {}, rows: [], ahead: 0, total: 0 };

  for (const [name, title, isNumber] of COLUMNS) {
    const button = element('button', { type: 'button' }, title);
    button.addEventListener('click', () => sortBy(name, name === table.sort ? !table.descending : undefined));
    const head = element('th', { scope: 'col', role: 'columnheader', 'data-column': name }, button);
    if (isNumber) head.className = 'number';
    $('table').tHead.rows[0].append(head);
    $('sort').append(element('option', { value: name }, title));
  }
  $('table').tHead.rows[0].append(
    element('th', { scope: 'col', role: 'columnheader', class: 'process' }, 'Process'),
    element('th', { scope: 'col', role: 'columnheader', class: 'acts', 'aria-label': 'Actions' }));

  function sortBy(name, descending = COLUMNS.find(([each]) => each === name)[3]) {
    Object.assign(table, { sort: name, descending });
    turn({});
  }

  function showSorting() {
    for (const head of $('table').tHead.rows[0].cells) {
      if (head.dataset.column === table.sort) head.setAttribute('aria-sort', table.descending ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
    $('sort').value = table.sort;
    $('direction').textContent = table.descending ? '↓' : '↑';
    $('direction').setAttribute('aria-label', table.descending ? 'Largest first' : 'Smallest first');
  }

  // To another page: after a row, before one, the last, or, with nothing of that, the first.
  function turn(cursor) {
    table.cursor = cursor;
    showSorting();
    lookAtTable(true);
  }

  const lookAtTable = looker(async () => {
    const { sort, descending, cursor } = table;
    const answer = await ask({
      type: 'page', router: state.router, process: state.process, sort, descending, text: $('filter').value.trim().toLowerCase(),
      limit: ROWS, ...cursor,
    });
    if (!answer?.rows) return;
    if (answer.ahead === 0 && cursor.before && answer.rows.length < ROWS) {
      turn({}); // on the way back to the first page, which is a whole one
      return;
    }
    if (!answer.rows.length && answer.total && cursor.after) {
      turn({ last: true });
      return;
    }
    Object.assign(table, { rows: answer.rows, ahead: answer.ahead, total: answer.total });
    showTable(answer.missing);
  });

  function showTable(missing) {
    const body = $('table').tBodies[0];
    const colours = processes();
    const hasProcesses = colours.size > 1;
    $('table').classList.toggle('alone', !hasProcesses);
    for (const each of $('table').querySelectorAll('th.process')) each.hidden = !hasProcesses;
    $('table').tHead.querySelector('.acts').hidden = state.rights !== 'act';
    const known = new Map([...body.rows].map((row) => [row.dataset.handle, row]));
    let place = body.firstChild;
    for (const data of table.rows) {
      let row = known.get(data.handle);
      if (row) known.delete(data.handle);
      else row = newRow(data);
      fill(row, data, colours, hasProcesses);
      // A row that stays where it is keeps the focus.
      if (row === place) place = row.nextSibling;
      else body.insertBefore(row, place);
    }
    for (const row of known.values()) row.remove();
    const from = table.rows.length ? table.ahead + 1 : 0;
    const to = table.ahead + table.rows.length;
    $('position').textContent = table.total ? `${whole.format(from)} to ${whole.format(to)} of ${whole.format(table.total)}` : '';
    $('connections-count').textContent = whole.format(table.total) + (missing ? `, ${missing} ${missing > 1 ? 'processes do' : 'process does'} not answer` : '');
    $('none').hidden = table.total > 0;
    $('none').textContent = $('filter').value ? 'No connection matches the filter.' : 'No connections.';
    $('first').disabled = $('previous').disabled = table.ahead <= 0;
    $('last').disabled = $('next').disabled = to >= table.total;
  }

  function newRow(data) {
    const row = element('tr', { role: 'row', 'data-handle': data.handle });
    for (const [name, title, isNumber] of COLUMNS) {
      const cell = element('td', { role: 'cell', 'data-column': name });
      if (isNumber) cell.className = 'number';
      if (name !== 'id') cell.dataset.label = title;
      row.append(cell);
    }
    row.cells[0].className = 'id';
    row.cells[0].textContent = data.id;
    row.cells[7].className = 'names';
    row.append(
      element('td', { role: 'cell', class: 'process', 'data-label': 'Process' }, element('span')),
      element('td', { role: 'cell', class: 'acts' }));
    if (state.rights === 'act') {
      const send = element('button', { type: 'button', 'aria-label': `Send a message to ${data.id}` }, 'Send…');
      const close = element('button', { type: 'button', 'aria-label': `Close ${data.id}` }, 'Close…');
      send.addEventListener('click', () => openDialog('send', row.data));
      close.addEventListener('click', () => openDialog('close', row.data));
      row.lastChild.append(send, close);
    }
    return row;
  }

  function fill(row, data, colours, hasProcesses) {
    row.data = data;
    const names = data.names.join(', ');
    const texts = [
      data.transport, data.address || '–', age(data.opened), count(data.received), count(data.sent), bytes(data.queue),
      data.groups > data.names.length ? `${names} and ${data.groups - data.names.length} more` : names,
    ];
    texts.forEach((text, index) => {
      const cell = row.cells[index + 1];
      if (cell.textContent !== text) cell.textContent = text;
    });
    row.cells[2].title = data.address; // both may be cut
    row.cells[7].title = texts[6];
    if (data.closing && !('closing' in row.dataset)) {
      row.dataset.closing = '';
      row.cells[0].append(' ', element('span', { class: 'tag' }, 'closing'));
      for (const button of row.querySelectorAll('button')) button.disabled = true;
    }
    row.cells[6].classList.toggle('warn', data.queue > 1e6);
    const process = row.cells[8];
    process.hidden = !hasProcesses;
    process.firstChild.className = `swatch s${colours.get(data.process) ?? 7}`;
    const name = state.names.get(data.process) ?? '';
    if (process.textContent !== name) process.firstChild.textContent = name;
    row.lastChild.hidden = state.rights !== 'act';
  }

  $('first').addEventListener('click', () => turn({}));
  $('last').addEventListener('click', () => turn({ last: true }));
  $('next').addEventListener('click', () => turn({ after: table.rows.at(-1).key }));
  $('previous').addEventListener('click', () => turn({ before: table.rows[0].key }));
  $('sort').addEventListener('change', () => sortBy($('sort').value));
  $('direction').addEventListener('click', () => sortBy(table.sort, !table.descending));

  let typing = 0;
  for (const [id, look] of [['filter', () => turn({})], ['groups-filter', lookAtGroups]]) {
    $(id).addEventListener('input', () => {
      clearTimeout(typing);
      typing = setTimeout(look, 200);
    });
  }

  // -- Actions --------------------------------------------------------------------------------------------------------

  let action = null; // the one that the dialog is about

  function openDialog(kind, data) {
    action = { kind, data };
    const isClosing = kind === 'close';
    $('dialog-title').textContent = isClosing ? `Close ${data.id}?` : `A message to ${data.id}`;
    $('dialog-text').textContent = `${data.transport}, ${data.address || 'no address'}, connected for ${age(data.opened)}.`
      + (isClosing ? ' What waits for it is still delivered. Clients of Socket.IO connect again by themselves.' : '');
    $('dialog-message').hidden = isClosing;
    $('dialog-problem').textContent = '';
    $('confirm').textContent = isClosing ? 'Close it' : 'Send';
    $('confirm').className = isClosing ? 'main danger' : 'main';
    $('confirm').disabled = false;
    $('dialog').showModal();
    (isClosing ? $('cancel') : $('message')).focus();
  }

  $('cancel').addEventListener('click', () => $('dialog').close());
  $('confirm').addEventListener('click', async () => {
    const { kind, data } = action;
    const request = { type: 'act', action: kind, router: state.router, process: data.process, id: data.id, handle: data.handle };
    if (kind === 'send') {
      request.message = $('message').value;
      if ($('as-json').checked) {
        try {
          request.message = JSON.parse(request.message);
        } catch (error) {
          $('dialog-problem').textContent = `This is no JSON: ${error.message}`;
          return;
        }
        if (request.message === null) {
          $('dialog-problem').textContent = 'null is no message: nothing would be sent.';
          return;
        }
      }
    }
    $('confirm').disabled = true;
    const answer = await ask(request);
    $('confirm').disabled = false;
    if (answer?.done) {
      $('dialog').close();
      toast(kind === 'close' ? `${data.id} is being closed. What waits for it is still delivered.` : `${data.id} was sent the message.`);
      lookAtTable();
    } else {
      $('dialog-problem').textContent = answer?.text ?? answer?.error ?? 'The connection to the server broke: try again.';
    }
  });

  let toasted = 0;
  function toast(text) {
    $('toast').textContent = text;
    clearTimeout(toasted);
    toasted = setTimeout(() => { $('toast').textContent = ''; }, 4000);
  }

  // -- The connection -------------------------------------------------------------------------------------------------

  function show(kind, text) {
    $('state').dataset.state = kind;
    $('state').textContent = text;
    document.body.toggleAttribute('data-stale', kind !== 'on' && state.rounds.size > 0);
  }

  function problem(text) {
    $('problem').textContent = text;
    $('problem').hidden = !text;
  }

  const receive = {
    welcome(message) {
      Object.assign(state, { rights: message.rights, interval: message.interval, bounds: message.bounds, routers: message.routers });
      state.lag = Date.now() / 1000 - message.time;
      showRouters();
      $('rights').hidden = false;
      $('rights').dataset.rights = message.rights;
      $('rights').textContent = message.rights === 'act' ? 'You may act' : 'Read only';
      $('table').tBodies[0].replaceChildren();
      show('on', `Live over ${socket.transport.type}`);
      problem('');
    },
    history(message) {
      state.rounds.clear();
      state.last.clear();
      message.samples.forEach(take);
      redrawSoon();
      lookAtTable();
      lookAtGroups();
    },
    sample(message) {
      take(message.sample);
      redrawSoon();
    },
    answer({ number: own, ...answer }) {
      waiting.get(own)?.(answer);
      waiting.delete(own);
    },
  };

  socket.on('message', (message) => receive[message.type]?.(message));
  socket.on('connecting', () => show('busy', 'Connecting…'));
  socket.on('disconnect', () => {
    show('off', 'Not connected');
    for (const resolve of waiting.values()) resolve(null); // nobody will answer
    waiting.clear();
  });
  socket.on('reconnecting', (delay) => show('busy', `Trying again in ${Math.max(1, Math.round(delay / 1000))} s`));
  function failed(status, text) {
    show('off', 'Not connected');
    problem(status === 403 ? `You may not look at this: ${text}` : `No connection to the server${text ? `: ${text}` : ''}.`);
  }
  socket.on('connect_failed', failed);
  socket.on('reconnect_failed', failed);

  $('router').addEventListener('change', () => {
    state.router = $('router').value;
    state.process = '';
    redraw();
    turn({});
    lookAtGroups();
  });
  $('process').addEventListener('change', () => {
    state.process = $('process').value;
    redraw();
    turn({});
  });
  for (const radio of document.querySelectorAll('[name="lines"]')) {
    radio.addEventListener('change', () => {
      state.lines = radio.value;
      redraw();
    });
  }
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) refresh();
  });

  function refresh() {
    if (visible.has('connections') && $('live').checked && !$('dialog').open) lookAtTable();
    if (visible.has('groups')) lookAtGroups();
  }
  setInterval(refresh, REFRESH);

  showSorting();
  socket.connect();
})();
