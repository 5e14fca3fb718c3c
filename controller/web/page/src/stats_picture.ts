/** Draws how a phase was over repetitions: points and boxes of few, a curve with its band of many. */
import { scaleLinear, scaleLog } from 'd3-scale';
import type { PhaseStatistics, PhaseValue, Ruling } from './data';
import { draw } from './elements';
import { boxOf, counted, distribution, hasInterval, spread } from './stats_math';
import { plusMinus, span } from './time';

/** One phase of one run and variant, with what else the picture tells of it. */
export interface Series {
  /** "r-7f3c", "r-7f3c · slow": told beside it where there are several. */
  readonly name: string;
  readonly run: number;
  readonly statistics: PhaseStatistics;
  rulingOf(repetition: number): Ruling;
}

/** Up to how many values each is drawn as a point of its own. */
export const fewest = 200;

/** Up to how many strips are all drawn at once. */
const atOnce = 8;

/** What the picture tells whoever uses it. */
export interface Choice {
  readonly run: number;
  readonly repetition: number;
}

const stripLeft = 12;
/** Curves have their shares at the left. */
const curveLeft = 44;
const right = 16;
const axisHeight = 28;
const stripHeight = 84;

/** Makes the picture for a width in pixels. open is the repetition that stands out. */
export function pictureOf(series: readonly Series[], width: number, open: Choice, pick: (c: Choice) => void): SVGSVGElement {
  const values = series.flatMap((s) => s.statistics.values.map((v) => v.ns));
  const few = series.every((s) => s.statistics.values.length <= fewest);
  const left = few ? stripLeft : curveLeft;
  const [min, max] = values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  const place = placing(min, max, left, width);
  const inner = few ? strips(series, place, open, pick) : curves(series, place, width, open, pick);
  const height = (few ? series.length * stripHeight : curveHeight) + axisHeight;
  const svg = draw('svg', { class: 'plot', role: 'img', width, height, viewBox: `0 0 ${width} ${height}`, 'aria-label': labelOf(series) },
    ...axis(place, left, width, height - axisHeight), ...inner);
  return svg;
}

interface Place {
  (ns: number): number;
  ticks(count: number): number[];
}

/** From a length of time to a place: logarithmic where the values are far apart. */
export function placing(min: number, max: number, left: number, width: number): Place {
  const range: [number, number] = [left, width - right];
  const wide = min > 0 && max / min > 50;
  const margin = wide ? 0 : Math.max((max - min) * 0.04, Math.abs(max) * 1e-6, 1);
  const scale = wide
    ? scaleLog().domain([min, max]).range(range).nice()
    : scaleLinear().domain([Math.min(min, Math.max(0, min - margin)), max + margin]).range(range);
  // A ± may reach to 0 and beyond, which a logarithmic scale does not have: it ends at the edge.
  const least = wide ? scale.domain()[0]! : -Infinity;
  return Object.assign((ns: number) => scale(Math.max(ns, least)), {
    ticks: (count: number) => {
      const all = scale.ticks(count);
      // A logarithmic scale gives all nine of each decade.
      return wide && all.length > count ? all.filter((t) => /^[125]?0*$/.test(String(Math.round(t))) && Number.isInteger(Math.log10(t))) : all;
    },
  });
}

function axis(place: Place, left: number, width: number, y: number): SVGElement[] {
  const all = place.ticks(Math.max(2, Math.floor(width / 90)));
  return [
    draw('line', { class: 'axis', x1: left, x2: width - right, y1: y, y2: y }),
    ...all.map((t) => draw('line', { class: 'grid', x1: place(t), x2: place(t), y1: 0, y2: y + 4 })),
    ...ticks(all, place, width, y + 17),
  ];
}

/** Lengths of time under their places, as many as have room, and all of each in the picture. */
export function ticks(all: readonly number[], place: (ns: number) => number, width: number, y: number): SVGElement[] {
  const out: SVGElement[] = [];
  let free = 0;
  for (const t of all) {
    const text = span(t);
    const half = text.length * 3.4;
    const x = Math.min(Math.max(place(t), half), width - half);
    if (x - half < free) continue;
    free = x + half + 8;
    out.push(draw('text', { class: 'tick', x, y, 'text-anchor': 'middle' }, text));
  }
  return out;
}

/**
 * A strip for each series. What is in a strip is made when it comes near to what is in sight:
 * of eighty runs with a hundred values that is a tenth of the elements.
 */
function strips(series: readonly Series[], place: Place, open: Choice, pick: (c: Choice) => void): SVGElement[] {
  const groups = series.map((_, i) => draw('g', { class: 'strip' },
    // Gives an empty strip its size, by which it is found to be in sight.
    draw('rect', { x: 0, y: i * stripHeight, width: 1, height: stripHeight, fill: 'none' })));
  const fill = (i: number): void => {
    groups[i]!.append(...strip(series[i]!, place, i * stripHeight, open, pick, series.length > 1));
  };
  if (series.length <= atOnce) {
    series.forEach((_, i) => fill(i));
    return groups;
  }
  const waiting = new Map<Element, number>(groups.map((g, i) => [g, i]));
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      const i = waiting.get(target);
      if (!isIntersecting || i === undefined) continue;
      watch.unobserve(target);
      waiting.delete(target);
      fill(i);
    }
  }, { rootMargin: `${4 * stripHeight}px` });
  for (const g of groups) watch.observe(g);
  return groups;
}

function strip(s: Series, place: Place, top: number, open: Choice, pick: (c: Choice) => void, named: boolean): SVGElement[] {
  const sorted = [...s.statistics.values].sort((a, b) => a.ns - b.ns);
  const middle = top + 30;
  const places = sorted.map((v) => place(v.ns));
  const across = spread(places, 7);
  const out: SVGElement[] = [];
  if (named) out.push(draw('text', { class: 'series', x: stripLeft, y: top + 11 }, s.name));
  sorted.forEach((v, i) => {
    // What the clocks leave open is drawn only where it can be seen.
    if (v.err !== null && place(v.ns + v.err) - place(v.ns) > 3) {
      const y = middle + across[i]! * 14;
      out.push(draw('line', { class: 'error', x1: place(v.ns - v.err), x2: place(v.ns + v.err), y1: y, y2: y }));
    }
  });
  sorted.forEach((v, i) => out.push(point(s, v, places[i]!, middle + across[i]! * 14, open, pick)));
  // Of fewer a box says nothing that the points do not.
  const figured = counted(sorted);
  const box = figured.length < 5 ? null : boxOf(figured.map((v) => v.ns));
  if (box !== null) out.push(...boxShape(box, place, top + 62));
  const { low, high } = s.statistics;
  if (hasInterval(s.statistics)) {
    out.push(draw('line', { class: 'interval', x1: place(low), x2: place(high), y1: top + 76, y2: top + 76 }, draw('title', {}, intervalWords(s.statistics))));
  }
  return out;
}

function point(s: Series, v: PhaseValue, x: number, y: number, open: Choice, pick: (c: Choice) => void): SVGElement {
  const ruling = s.rulingOf(v.repetition);
  const isOpen = s.run === open.run && v.repetition === open.repetition;
  const shape = ruling === 'pass' || ruling === 'no verdict'
    ? draw('circle', { cx: x, cy: y, r: isOpen ? 5 : 3.2 })
    : draw('path', { d: `M${x - 4},${y - 4}L${x + 4},${y + 4}M${x - 4},${y + 4}L${x + 4},${y - 4}` });
  shape.setAttribute('class', `point ${ruling.replace(' ', '-')}${isOpen ? ' open' : ''}`);
  shape.append(draw('title', {}, `repetition ${v.repetition}: ${span(v.ns)} ${plusMinus(v.err)}, ${ruling}`));
  shape.addEventListener('click', () => pick({ run: s.run, repetition: v.repetition }));
  return shape;
}

function boxShape(box: NonNullable<ReturnType<typeof boxOf>>, place: Place, y: number): SVGElement[] {
  const line = (x1: number, y1: number, x2: number, y2: number, name = 'whisker') => draw('line', { class: name, x1, y1, x2, y2 });
  return [
    line(place(box.low), y, place(box.q1), y), line(place(box.q3), y, place(box.high), y),
    line(place(box.low), y - 4, place(box.low), y + 4), line(place(box.high), y - 4, place(box.high), y + 4),
    draw('rect', { class: 'box', x: place(box.q1), y: y - 8, width: Math.max(1, place(box.q3) - place(box.q1)), height: 16 }),
    line(place(box.median), y - 8, place(box.median), y + 8, 'median'),
  ];
}

const curveHeight = 220;

function curves(series: readonly Series[], place: Place, width: number, open: Choice, pick: (c: Choice) => void): SVGElement[] {
  const out: SVGElement[] = [];
  const y = (share: number) => 14 + (1 - share) * (curveHeight - 20);
  for (const share of [0, 0.5, 0.9, 1]) {
    out.push(draw('line', { class: 'grid', x1: curveLeft, x2: width - right, y1: y(share), y2: y(share) }));
    out.push(draw('text', { class: 'tick', x: curveLeft - 6, y: y(share) + 4, 'text-anchor': 'end' }, `${share * 100} %`));
  }
  series.forEach((s, i) => {
    const values = counted(s.statistics.values).sort((a, b) => a.ns - b.ns);
    const steps = distribution(values.map((v) => v.ns));
    const path = (of: (k: number) => number) => steps.map((t, k) => `${k === 0 ? 'M' : 'H'}${place(t.value).toFixed(1)}${k === 0 ? `,${y(0)}` : ''}V${y(of(k)).toFixed(1)}`).join('');
    const upper = steps.map((t) => `${place(t.value).toFixed(1)},${y(t.high).toFixed(1)}`);
    const lower = steps.map((t) => `${place(t.value).toFixed(1)},${y(t.low).toFixed(1)}`).reverse();
    out.push(draw('polygon', { class: `band s${i % 4}`, points: [...upper, ...lower].join(' ') }));
    out.push(draw('path', { class: `curve s${i % 4}`, d: path((k) => steps[k]!.share) }));
    if (series.length > 1) out.push(draw('text', { class: `series s${i % 4}`, x: curveLeft + 6, y: 12 + 14 * i }, `${'━┅╍┄'[i % 4]} ${s.name}`));
    // The extremes are what somebody wants to open; and the one that is open shows where it stands.
    const marked = new Set([...values.slice(0, 5), ...values.slice(-15), ...values.filter((v) => s.run === open.run && v.repetition === open.repetition)]);
    const odd = values.filter((v) => !['pass', 'no verdict'].includes(s.rulingOf(v.repetition)));
    const every = Math.ceil(odd.length / fewest);
    odd.forEach((v, k) => { if (k % every === 0) marked.add(v); });
    values.forEach((v, k) => {
      if (marked.has(v)) out.push(point(s, v, place(v.ns), y((k + 1) / values.length), open, pick));
    });
  });
  return out;
}

/** "median 40.14 ms, surely … with 95 %". */
export function intervalWords(p: PhaseStatistics): string {
  if (p.n === 0) return 'no values that count';
  const interval = hasInterval(p) ? `, between ${span(p.low)} and ${span(p.high)} with ${(p.confidence * 100).toFixed(0)} %` : '';
  return `median ${span(p.median)}${interval}`;
}

function figuresInWords(p: PhaseStatistics): string {
  return p.n === 0 ? intervalWords(p) : `${p.n} ${p.n === 1 ? 'value' : 'values'}, ${intervalWords(p)}, from ${span(p.min)} to ${span(p.max)}`;
}

function labelOf(series: readonly Series[]): string {
  const first = series[0];
  if (first === undefined) return 'no values';
  return `${first.statistics.name} over repetitions. ${series.map((s) => `${s.name}: ${figuresInWords(s.statistics)}`).join('. ')}.`;
}
