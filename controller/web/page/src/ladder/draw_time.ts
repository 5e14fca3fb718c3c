/** Draws the time column. */
import type { Repetition, Row } from '../data';
import { localTime } from '../data';
import { fixed, fixedError, groupedNanoseconds, unitName } from '../time';
import { evenRuns, first, tickStep } from './place';
import type { Sketch, Times } from './sketch';

export function drawTimes(d: Sketch): void {
  if (d.s.options.scale === 'row' || d.times.raw) {
    drawRowTimes(d);
  } else {
    drawAxisTimes(d);
  }
}

/** A time for each row that has one. */
function drawRowTimes(d: Sketch): void {
  const { rows } = d.r.layout;
  const inWindow = rowsInWindow(d);
  // Of more rows than there is room for, evenly some.
  const every = Math.max(1, Math.floor((inWindow.length * 14) / d.w.height));
  for (let k = 0; k < inWindow.length; k += every) {
    const i = inWindow[k]!;
    const row = rows[i]!;
    d.text(d.f.time - 10, d.y(d.s.rows[i]!) + 4, timeText(d, row), 'end', row.showErr ? 'time' : 'timeAxis');
  }
}

/** Rows with a time that are in the window, in order. */
function rowsInWindow(d: Sketch): Int32Array {
  const { timed, rows } = d.s;
  const from = first(timed.length, (i) => rows[timed[i]!]! >= d.w.top);
  const to = first(timed.length, (i) => rows[timed[i]!]! > d.w.top + d.w.height / d.w.scale);
  return timed.subarray(from, to);
}

function timeText(d: Sketch, row: Row): string {
  const { layout, moments } = d.r;
  const m = moments[row.moment]!;
  if (d.times.raw) {
    return `${layout.lanes[row.lane]?.name ?? ''} ${groupedNanoseconds(localTime(d.r, m)).replace(/ \d+ s$/, '').replace(' ', '')}`;
  }
  const { origin } = d.times;
  const unordered = row.unordered ? '~' : '';
  if (origin !== null && origin.host === m.host) {
    // One clock: the difference is its own, and nothing else is in it.
    const err = m.reading + origin.reading;
    return unordered + fixed(m.local - origin.local, layout.unit, layout.decimals) + (err > 0 ? ` ${fixedError(err, layout.unit, layout.decimals)}` : '');
  }
  const err = origin === null ? row.err : row.err === null || origin.err === null ? null : row.err + origin.err;
  const shown = origin === null ? row.showErr : err !== 0;
  return unordered + fixed(row.at - (origin?.at ?? 0), layout.unit, layout.decimals) + (shown ? ` ${fixedError(err, layout.unit, layout.decimals)}` : '');
}

/** Even ticks where the scale is even; else times of moments where there is room. */
function drawAxisTimes(d: Sketch): void {
  const { layout } = d.r;
  const places = d.s.places;
  const zero = d.times.origin?.at ?? 0;
  if (d.s.options.scale === 'log') {
    for (const i of rowsInWindow(d)) {
      const row = layout.rows[i]!;
      if (d.text(d.f.time - 10, d.y(d.s.rows[i]!) + 4, fixed(row.at - zero, layout.unit, layout.decimals), 'end', 'timeAxis')) {
        d.line([d.f.time - 6, d.y(d.s.rows[i]!), d.f.time - 1, d.y(d.s.rows[i]!)], 'wire');
      }
    }
    return;
  }
  const knots = places.knots;
  const begin = Math.max(0, first(knots.length, (i) => knots[i]!.place >= d.w.top) - 1);
  for (const run of evenRuns(knots, begin, d.w.top + d.w.height / d.w.scale, (i) => isFolded(d, i))) {
    const [p, q] = run;
    const [y0, y1] = [d.y(p.place), d.y(q.place)];
    const perPixel = (q.at - p.at) / (y1 - y0);
    const step = tickStep(perPixel, 34);
    const from = Math.max(p.at, p.at + (0 - y0) * perPixel);
    const to = Math.min(q.at, p.at + (d.w.height - y0) * perPixel);
    for (let t = Math.ceil((from - zero) / step) * step; t + zero <= to; t += step) {
      const y = y0 + (t + zero - p.at) / perPixel;
      const decimals = Math.max(0, Math.ceil(-Math.log10(step / layout.unit) - 1e-9));
      if (d.text(d.f.time - 10, y + 4, fixed(t, layout.unit, decimals), 'end', 'timeAxis')) {
        d.shapes.unshift({ t: 'line', points: [d.f.time - 4, y, d.f.width - 4, y], style: 'tick', dim: false });
      }
    }
  }
}

function isFolded(d: Sketch, knot: number): boolean {
  return d.s.folded[knot] === 1 && !d.s.options.open.has(knot);
}

/** The head of the time column. */
export function timeHead(r: Repetition, times: Times): string {
  return times.raw ? 'own clock / s' : `t / ${unitName(r.layout.unit)}`;
}
