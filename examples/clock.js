// Times as people read them, no finer than the browser's clock, which counts whole milliseconds in Firefox and Safari.

const CLOCK_STEP = clockStep();

// The least that the clock moves on.
function clockStep() {
  let least = Infinity;
  let before = performance.now();
  for (let moves = 0, looks = 0; moves < 4 && looks < 1e6; looks += 1) {
    const now = performance.now();
    if (now === before) continue;
    least = Math.min(least, now - before);
    before = now;
    moves += 1;
  }
  return least < 0.5 ? 0.1 : Math.round(least);
}

// "12.3", "123", or, of what is too short for the clock, "< 1".
export function milliseconds(value) {
  if (value < 0.99 * CLOCK_STEP) return `< ${CLOCK_STEP}`;
  return value.toFixed(value < 100 && CLOCK_STEP < 1 ? 1 : 0);
}
