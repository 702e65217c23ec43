// A chart of bars on a canvas: candles or a line, volume, axes, and a crosshair for pointer, finger and keyboard.

const TIME = 0, OPEN = 1, HIGH = 2, LOW = 3, CLOSE = 4, VOLUME = 5; // of a bar
const STEPS = [3, 4, 5, 6, 7, 8, 10, 12, 15, 19, 24, 30]; // widths of a bar with its gap, in CSS pixels
const MOST_BARS = 1000;
const FONT_PX = 12;
const BOTTOM = 26; // height of the time axis
const TOP = 12;
const VOLUME_SHARE = 0.18;
const TIME_STEPS = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400]; // seconds

export class Chart {
  // `onPoint(bar)` is called when another bar is to be read out: the one under the crosshair, or else the last one.
  constructor(canvas, onPoint) {
    this.canvas = canvas;
    this.brush = canvas.getContext('2d');
    this.onPoint = onPoint;
    this.calm = matchMedia('(prefers-reduced-motion: reduce)');
    this.bars = [];
    this.decimals = 2;
    this.interval = 60;
    this.style = 'candles';
    this.zoomed = STEPS.indexOf(canvas.clientWidth < 480 ? 6 : 8);
    this.cross = null; // the time of a bar, and a height or null for its close
    this.range = null; // prices at the bottom and the top, on their way to where they belong
    this.frame = 0;
    this.listen();
  }

  // What is shown

  setBars(bars, { decimals, interval }) {
    Object.assign(this, { bars, decimals, interval, cross: null, range: null });
    this.formats = formats(decimals, interval);
    this.changed();
  }

  update(bar) {
    const last = this.bars.at(-1);
    if (bar[TIME] === last[TIME]) this.bars[this.bars.length - 1] = bar;
    else if (bar[TIME] > last[TIME]) this.bars.push(bar);
    this.bars.splice(0, this.bars.length - MOST_BARS);
    this.changed();
  }

  setStyle(style) {
    this.style = style;
    this.draw();
  }

  zoom(steps) {
    this.zoomed = Math.max(0, Math.min(STEPS.length - 1, this.zoomed + steps));
    this.draw();
    return { mayZoomIn: this.zoomed < STEPS.length - 1, mayZoomOut: this.zoomed > 0 };
  }

  get pointed() {
    return this.cross && this.bars.find((bar) => bar[TIME] === this.cross.time);
  }

  changed() {
    this.onPoint(this.pointed ?? this.bars.at(-1), this.bars);
    this.draw();
  }

  point(time, height) {
    this.cross = time === undefined ? null : { time, height };
    this.changed();
  }

  // Pointer and keyboard

  listen() {
    const { canvas } = this;
    canvas.addEventListener('pointermove', (event) => this.follow(event));
    canvas.addEventListener('pointerdown', (event) => this.follow(event));
    canvas.addEventListener('pointerleave', (event) => {
      if (event.pointerType === 'mouse') this.point();
    });
    canvas.addEventListener('blur', () => this.point());
    canvas.addEventListener('keydown', (event) => this.press(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
    for (const query of ['(prefers-color-scheme: dark)', '(prefers-contrast: more)']) {
      matchMedia(query).addEventListener('change', () => this.draw());
    }
    // A window that moves to a screen with another density changes no size in CSS pixels.
    const watchDensity = () => {
      this.draw();
      matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener('change', watchDensity, { once: true });
    };
    watchDensity();
  }

  follow({ offsetX, offsetY }) {
    const visible = this.visible();
    if (!visible.length) return;
    const { x } = this.scales(visible);
    const nearest = Math.round((offsetX - x(0)) / this.step);
    const bar = visible[Math.max(0, Math.min(visible.length - 1, nearest))];
    this.point(bar[TIME], offsetY);
  }

  press(event) {
    const visible = this.visible();
    const at = visible.findIndex((bar) => bar[TIME] === this.cross?.time);
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -1e9, End: 1e9 };
    if (event.altKey || event.ctrlKey || event.metaKey || !visible.length) return;
    if (event.key in moves) {
      const from = at < 0 ? visible.length - (moves[event.key] < 0 ? 0 : 1) : at;
      const to = Math.max(0, Math.min(visible.length - 1, from + moves[event.key]));
      this.point(visible[to][TIME], null);
    } else if (event.key === 'Escape') {
      this.point();
    } else {
      return;
    }
    event.preventDefault();
  }

  // Geometry

  get step() {
    return STEPS[this.zoomed];
  }

  // Room for the widest price. Whole pixels, and only ever more for the same bars: the plot must not jitter.
  get right() {
    const label = this.formats.price(this.bars.at(-1)[CLOSE]);
    this.brush.font = this.font;
    return this.canvas.clientWidth - Math.ceil(this.brush.measureText(label).width) - 18;
  }

  visible() {
    if (!this.bars.length) return [];
    return this.bars.slice(-Math.max(2, Math.floor((this.right - 4) / this.step)));
  }

  scales(visible) {
    const { right, step } = this;
    const bottom = this.canvas.clientHeight - BOTTOM;
    const first = right - (visible.length - 0.5) * step - 4;
    const plotBottom = bottom - Math.round((bottom - TOP) * VOLUME_SHARE);
    return {
      right,
      bottom,
      plotBottom,
      x: (index) => first + index * step,
      y: (price) => plotBottom - (price - this.range.low) / (this.range.high - this.range.low) * (plotBottom - TOP),
      price: (height) => this.range.low + (plotBottom - height) / (plotBottom - TOP) * (this.range.high - this.range.low),
    };
  }

  // The range glides to what is in view, unless motion is unwelcome. Whether it is there is returned.
  settle(visible) {
    let low = Math.min(...visible.map((bar) => bar[LOW]));
    let high = Math.max(...visible.map((bar) => bar[HIGH]));
    const margin = Math.max((high - low) * 0.06, 2 * 10 ** -this.decimals);
    low -= margin;
    high += margin;
    if (!this.range || this.calm.matches) {
      this.range = { low, high };
      return true;
    }
    const { range } = this;
    const span = high - low;
    range.low += (low - range.low) * 0.25;
    range.high += (high - range.high) * 0.25;
    return Math.abs(low - range.low) + Math.abs(high - range.high) < span * 0.001;
  }

  // Drawing, at most once for each frame of the screen, and never while the page is hidden

  draw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    const { canvas, brush } = this;
    const ratio = devicePixelRatio;
    const { clientWidth, clientHeight } = canvas;
    if (canvas.width !== Math.round(clientWidth * ratio) || canvas.height !== Math.round(clientHeight * ratio)) {
      canvas.width = Math.round(clientWidth * ratio);
      canvas.height = Math.round(clientHeight * ratio);
    }
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.clearRect(0, 0, clientWidth, clientHeight);
    this.readStyle();
    const visible = this.visible();
    if (!visible.length || clientHeight < TOP + BOTTOM + 20) return;
    const isSettled = this.settle(visible);
    const scales = this.scales(visible);
    this.paintPrices(scales, scales.y(visible.at(-1)[CLOSE]));
    this.paintTimes(visible, scales);
    brush.save();
    brush.beginPath();
    brush.rect(0, 0, scales.right, scales.bottom);
    brush.clip();
    this.paintVolume(visible, scales);
    if (this.style === 'line') this.paintLine(visible, scales);
    else this.paintCandles(visible, scales);
    brush.restore();
    this.paintLast(visible.at(-1), scales);
    this.paintCross(visible, scales);
    if (!isSettled) this.draw();
  }

  readStyle() {
    const style = getComputedStyle(this.canvas);
    this.font = `${FONT_PX}px ${style.fontFamily}`;
    this.colours = Object.fromEntries(
      ['up', 'down', 'grid', 'line', 'muted', 'text', 'surface', 'tag', 'on-tag', 'on-move', 'accent'].map(
        (name) => [name, style.getPropertyValue(`--${name}`).trim()],
      ),
    );
    this.brush.font = this.font;
    this.brush.textBaseline = 'middle';
    this.brush.lineJoin = 'round';
  }

  paintPrices({ right, plotBottom, y }, lastHeight) {
    const { brush, colours, range } = this;
    const step = Math.max(niceStep((range.high - range.low) / Math.max(2, (plotBottom - TOP) / 46)), 10 ** -this.decimals);
    brush.fillStyle = colours.muted;
    brush.textAlign = 'left';
    for (let count = Math.ceil(range.low / step); count * step <= range.high; count += 1) {
      const height = Math.round(y(count * step)) + 0.5;
      if (height < TOP - 6) break;
      this.rule(0, height, right, height, colours.grid);
      if (Math.abs(height - lastHeight) > 17) brush.fillText(this.formats.price(count * step), right + 9, height);
    }
  }

  paintTimes(visible, { right, bottom, x }) {
    const { brush, colours } = this;
    const perLabel = 84 / this.step * this.interval;
    const seconds = TIME_STEPS.find((each) => each >= perLabel) ?? TIME_STEPS.at(-1);
    const offset = new Date().getTimezoneOffset() * 60;
    const crossed = x(visible.findIndex((bar) => bar[TIME] === this.cross?.time)); // where a tag covers what is there
    brush.fillStyle = colours.muted;
    brush.textAlign = 'center';
    for (let index = 1; index < visible.length; index += 1) {
      const [before, now] = [visible[index - 1], visible[index]].map((bar) => Math.floor((bar[TIME] - offset) / seconds));
      if (now === before) continue;
      const place = Math.round(x(index)) + 0.5;
      this.rule(place, TOP - 6, place, bottom, colours.grid);
      const text = this.formats.time(visible[index][TIME]);
      const { width } = brush.measureText(text);
      const fits = place > width / 2 && place + width / 2 < right + 8;
      if (fits && (!this.cross || Math.abs(place - crossed) > width + 14)) brush.fillText(text, place, bottom + BOTTOM / 2 + 1);
    }
    this.rule(0, bottom + 0.5, right, bottom + 0.5, colours.line);
  }

  paintVolume(visible, { bottom, plotBottom, x }) {
    const { brush, colours } = this;
    const most = Math.max(...visible.map((bar) => bar[VOLUME]));
    const width = this.bodyWidth;
    brush.globalAlpha = 0.28;
    visible.forEach((bar, index) => {
      const height = Math.max(1, bar[VOLUME] / most * (bottom - plotBottom - 10));
      brush.fillStyle = isUp(bar) ? colours.up : colours.down;
      brush.fillRect(Math.round(x(index) - width / 2), Math.round(bottom - height), width, Math.ceil(height));
    });
    brush.globalAlpha = 1;
  }

  get bodyWidth() {
    const width = Math.max(1, Math.round(this.step * 0.7));
    return width % 2 ? width : width - 1; // odd, so that the wick is in the middle
  }

  // Bars that went up are hollow where there is room, so that it shows without colours, too.
  paintCandles(visible, { x, y }) {
    const { brush, colours } = this;
    const width = this.bodyWidth;
    visible.forEach((bar, index) => {
      const up = isUp(bar);
      const middle = Math.round(x(index) - 0.5);
      const left = middle - (width - 1) / 2;
      const top = Math.round(y(Math.max(bar[OPEN], bar[CLOSE])));
      const height = Math.max(1, Math.round(y(Math.min(bar[OPEN], bar[CLOSE]))) - top);
      brush.fillStyle = brush.strokeStyle = up ? colours.up : colours.down;
      brush.fillRect(middle, Math.round(y(bar[HIGH])), 1, Math.max(1, Math.round(y(bar[LOW])) - Math.round(y(bar[HIGH]))));
      if (up && width >= 5 && height > 2) {
        brush.fillStyle = colours.surface;
        brush.fillRect(left, top, width, height);
        brush.lineWidth = 1;
        brush.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
      } else {
        brush.fillRect(left, top, width, height);
      }
    });
  }

  paintLine(visible, { x, y, plotBottom }) {
    const { brush, colours } = this;
    brush.beginPath();
    visible.forEach((bar, index) => brush.lineTo(x(index), y(bar[CLOSE])));
    brush.strokeStyle = colours.accent;
    brush.lineWidth = 2;
    brush.stroke();
    brush.lineTo(x(visible.length - 1), plotBottom);
    brush.lineTo(x(0), plotBottom);
    const shade = brush.createLinearGradient(0, TOP, 0, plotBottom);
    shade.addColorStop(0, colours.accent);
    shade.addColorStop(1, 'transparent');
    brush.globalAlpha = 0.2;
    brush.fillStyle = shade;
    brush.fill();
    brush.globalAlpha = 1;
  }

  paintLast(bar, { right, y }) {
    const { brush, colours } = this;
    const colour = isUp(bar) ? colours.up : colours.down;
    const height = Math.round(y(bar[CLOSE])) + 0.5;
    brush.setLineDash([2, 3]);
    this.rule(0, height, right, height, colour);
    brush.setLineDash([]);
    this.priceTag(right, height, bar[CLOSE], colour, colours['on-move']);
  }

  paintCross(visible, { right, bottom, plotBottom, x, y, price }) {
    const { brush, colours, cross } = this;
    const index = visible.findIndex((bar) => bar[TIME] === cross?.time);
    if (index < 0) return;
    const bar = visible[index];
    const place = Math.round(x(index) - 0.5) + 0.5;
    const height = Math.round(Math.max(TOP - 6, Math.min(bottom, cross.height ?? y(bar[CLOSE])))) + 0.5;
    brush.setLineDash([4, 4]);
    this.rule(place, TOP - 6, place, bottom, colours.muted);
    this.rule(0, height, right, height, colours.muted);
    brush.setLineDash([]);
    brush.beginPath();
    brush.arc(place, y(bar[CLOSE]), 3.5, 0, 2 * Math.PI);
    brush.fillStyle = colours.surface;
    brush.fill();
    brush.strokeStyle = colours.text;
    brush.lineWidth = 1.5;
    brush.stroke();
    if (height <= plotBottom) this.priceTag(right, height, price(height), colours.tag, colours['on-tag']);
    const text = this.formats.exactTime(bar[TIME]);
    const width = brush.measureText(text).width + 16;
    const left = Math.max(0, Math.min(right - width, place - width / 2));
    this.tag(left, bottom + 3, width, text, colours.tag, colours['on-tag']);
  }

  priceTag(right, height, price, ground, colour) {
    const top = Math.max(0, Math.min(this.canvas.clientHeight - BOTTOM - 20, height - 10));
    this.tag(right + 2, top, this.canvas.clientWidth - right - 2, this.formats.price(price), ground, colour);
  }

  tag(left, top, width, text, ground, colour) {
    const { brush } = this;
    brush.fillStyle = ground;
    brush.beginPath();
    brush.roundRect(left, top, width, 20, 4);
    brush.fill();
    brush.fillStyle = colour;
    brush.textAlign = 'left';
    brush.fillText(text, left + 7, top + 10.5);
  }

  rule(x1, y1, x2, y2, colour) {
    const { brush } = this;
    brush.strokeStyle = colour;
    brush.lineWidth = 1;
    brush.beginPath();
    brush.moveTo(x1, y1);
    brush.lineTo(x2, y2);
    brush.stroke();
  }
}

function isUp(bar) {
  return bar[CLOSE] >= bar[OPEN];
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough * 0.999);
}

export function formats(decimals, interval) {
  const price = new Intl.NumberFormat('en', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  const clock = (options) => new Intl.DateTimeFormat('en', { hourCycle: 'h23', hour: '2-digit', minute: '2-digit', ...options });
  const short = clock(interval < 60 ? { second: '2-digit' } : {});
  const exact = clock(interval < 60 ? { second: '2-digit' } : { weekday: 'short' });
  return {
    price: (value) => price.format(value),
    time: (seconds) => short.format(seconds * 1000),
    exactTime: (seconds) => exact.format(seconds * 1000),
  };
}
