/**
 * How the clocks of the hosts were over the run: for each host the interval that surely
 * holds its offset, by all that is known and by each method alone; what single messages
 * said; changes that were reported; and where the open repetition is.
 */
import { scaleLinear } from 'd3-scale';
import type { App, Change, Panel } from './app';
import type { ClockPoint, Host, HostClock, Run } from './data';
import { draw, make, tableOf } from './elements';
import { ticks } from './stats_picture';
import { plusMinus, span } from './time';

const left = 62;
const right = 14;
const height = 150;

export class ClockPanel implements Panel {
  readonly id = 'clocks';
  readonly title = 'Clocks';
  readonly key = 'c';

  private app!: App;
  private readonly lab = make('input', { type: 'radio', name: 'times', value: 'lab' });
  private readonly raw = make('input', { type: 'radio', name: 'times', value: 'raw' });
  private readonly steady = make('input', { type: 'checkbox', checked: true });
  private readonly hosts = make('div');
  private readonly warnings = make('ul', { class: 'remarks' });
  private readonly pairs = make('div');

  mount(el: HTMLElement, app: App): void {
    this.app = app;
    el.append(
      make('fieldset', { class: 'tools' }, make('legend', {}, 'Times in all views'),
        make('label', { class: 'switch' }, this.lab, 'aligned, on the lab\'s clock with ±'),
        make('label', { class: 'switch' }, this.raw, 'raw, each host\'s own clock')),
      make('label', { class: 'switch' }, this.steady, 'less the steady rate of each clock'),
      this.hosts, this.warnings, this.pairs);
    for (const input of [this.lab, this.raw]) input.addEventListener('change', () => app.set({ times: this.raw.checked ? 'raw' : 'lab' }));
    this.steady.addEventListener('change', () => this.show());
    new ResizeObserver(() => this.show()).observe(this.hosts);
  }

  update(change: Change): void {
    if (change.has('times')) {
      this.lab.checked = this.app.view.times === 'lab';
      this.raw.checked = this.app.view.times === 'raw';
    }
    if (change.has('run') || change.has('repetition')) this.show();
  }

  private show(): void {
    const { run } = this.app;
    const { clock } = run;
    if (clock === null) {
      this.hosts.replaceChildren(make('p', {}, 'Nothing is known of how the clocks of this run were.'));
      this.warnings.replaceChildren();
      this.pairs.replaceChildren();
      return;
    }
    const open = run.repetitions.find((o) => o.n === this.app.view.repetition);
    const width = Math.max(280, this.hosts.clientWidth);
    this.hosts.replaceChildren(...run.hosts.flatMap((h, i) => {
      const own = clock.hosts[i];
      if (own === undefined) return [];
      if (h.reference) return [section(h, [make('p', {}, 'Its clock is the lab\'s: every time of it is exact.')])];
      const same = h.sameClock ? [make('p', {}, 'It reads the very clock that is the lab\'s: its true offset is 0, whatever is derived here.')] : [];
      if (h.sameClock && own.points.every((p) => p.low === p.high)) return [section(h, same)];
      if (own.points.every((p) => p.low === null && p.high === null)) return [section(h, [make('p', {}, 'Nothing ties its clock to the lab\'s: its times are of its own clock alone.')])];
      return [section(h, [
        ...same, make('p', {}, summaryOf(own)),
        pictureOf(h, own, width, this.steady.checked, open ? [open.began, open.began + open.took] : null),
        legend(),
        make('details', {}, make('summary', {}, 'The picture as a table'), pointTable(h, own)),
      ])];
    }));
    const assumed = `No clock is taken to gain more than ${ppm(clock.drift)} on another${clock.wander > 0 ? `, and no rate to change faster than ${ppm(clock.wander)} a second` : ''}.`;
    this.warnings.replaceChildren(...[...clock.warnings, assumed].map((w) => make('li', {}, w)));
    this.pairs.replaceChildren(pairTable(run));
  }
}

/** What the picture's signs mean. It is there for the eye: the label and the table say the same. */
function legend(): HTMLElement {
  return make('p', { class: 'legend', 'aria-hidden': 'true' },
    make('b', { class: 's0' }, '▮'), ' surely in here · ', make('b', {}, '╌'), ' by probes alone · ', make('b', { class: 's2' }, '┈'), ' by segments alone · ',
    make('b', {}, '▾▴'), ' one message: not beyond · ', make('b', { class: 'bad' }, '!'), ' a change of the clock');
}

function section(h: Host, body: Node[]): HTMLElement {
  return make('section', { class: 'clock' }, make('h3', {}, `${h.name} · ${h.agent}${h.testClock === '' ? '' : ` · ${h.testClock}`}`), ...body);
}

/** "faster by 1.9 to 2.3 ppm; ±38 µs, at worst ±51 µs". */
function summaryOf(own: HostClock): string {
  const rate = own.rateLow === null || own.rateHigh === null ? 'its rate is not known' : `surely between ${ppm(own.rateLow)} and ${ppm(own.rateHigh)} faster than the lab's`;
  return `Offset ${plusMinus(own.errMedian)}, at worst ${plusMinus(own.errMax)}; ${rate}.`;
}

function ppm(ppb: number): string {
  const text = Math.abs(ppb) < 100 ? `${ppb} ppb` : `${Number((ppb / 1000).toFixed(2))} ppm`;
  return text.replace('-', '−');
}

/** Sides of an interval at a moment. */
interface Sides {
  readonly at: number;
  readonly low: number;
  readonly high: number;
}

function sides(points: readonly ClockPoint[], low: 'low' | 'probesLow' | 'segmentsLow', high: 'high' | 'probesHigh' | 'segmentsHigh'): Sides[] {
  return points.flatMap((p) => (p[low] === null || p[high] === null ? [] : [{ at: p.at, low: p[low], high: p[high] }]));
}

/** The straight line from the first middle to the last: what a steady rate would do. */
export function steadyLine(points: readonly { at: number; low: number; high: number }[]): (at: number) => number {
  const first = points[0];
  const last = points.at(-1);
  if (first === undefined || last === undefined || last.at === first.at) return () => (first === undefined ? 0 : (first.low + first.high) / 2);
  const a = (first.low + first.high) / 2;
  const slope = ((last.low + last.high) / 2 - a) / (last.at - first.at);
  return (at) => a + slope * (at - first.at);
}

function pictureOf(h: Host, own: HostClock, width: number, steady: boolean, open: readonly [number, number] | null): SVGSVGElement {
  const all = sides(own.points, 'low', 'high');
  const line = steadyLine(all);
  const less = steady ? line : () => line(all[0]?.at ?? 0);
  const shown = [...all.flatMap((p) => [p.low - less(p.at), p.high - less(p.at)])];
  const most = Math.max(1, ...shown.map(Math.abs)) * 1.6;
  const begin = Math.min(...own.points.map((p) => p.at));
  const end = Math.max(...own.points.map((p) => p.at));
  const x = scaleLinear().domain(begin === end ? [begin - 1e6, end + 1e6] : [begin, end]).range([left, width - right]);
  const y = scaleLinear().domain([-most, most]).range([height - 24, 8]).clamp(true);
  const path = (list: readonly Sides[], side: 'low' | 'high') => list.map((p, i) => `${i === 0 ? 'M' : 'L'}${x(p.at).toFixed(1)},${y(p[side] - less(p.at)).toFixed(1)}`).join('');
  const band = [...all.map((p) => `${x(p.at).toFixed(1)},${y(p.high - less(p.at)).toFixed(1)}`), ...all.map((p) => `${x(p.at).toFixed(1)},${y(p.low - less(p.at)).toFixed(1)}`).reverse()].join(' ');
  const methods = (['probes', 'segments'] as const).flatMap((m) => {
    const list = sides(own.points, `${m}Low`, `${m}High`);
    return list.length === 0 ? [] : [draw('path', { class: `method ${m}`, d: path(list, 'low') + path(list, 'high') }, draw('title', {}, `by ${m} alone`))];
  });
  const label = `offset of ${h.name} over the run${steady ? ', less its steady rate' : ''}: ${summaryOf(own)}`;
  return draw('svg', { class: 'plot clock', role: 'img', width, height, viewBox: `0 0 ${width} ${height}`, 'aria-label': label },
    ...(open === null ? [] : [draw('rect', { class: 'here', x: x(open[0]), width: Math.max(2, x(open[1]) - x(open[0])), y: 4, height: height - 26 }, draw('title', {}, 'the repetition that is open'))]),
    ...y.ticks(4).flatMap((t) => [
      draw('line', { class: 'grid', x1: left, x2: width - right, y1: y(t), y2: y(t) }),
      draw('text', { class: 'tick', x: left - 6, y: y(t) + 4, 'text-anchor': 'end' }, t > 0 ? `+${span(t)}` : span(t)),
    ]),
    ...ticks(x.ticks(Math.max(2, Math.floor(width / 110))), x, width, height - 6),
    draw('polygon', { class: 'band s0', points: band }),
    ...methods,
    ...own.samples.flatMap((s) => {
      const v = s.offset - less(s.at);
      if (Math.abs(v) > most) return [];
      const [px, py, up] = [x(s.at), y(v), s.upper ? -1 : 1];
      // Points away from where the offset surely is not.
      return [draw('path', { class: `sample ${s.probe ? 'probes' : 'segments'}`, d: `M${px - 2.5},${py + 4 * up}h5l-2.5,${-4 * up}z` },
        draw('title', {}, `a ${s.probe ? 'probe' : 'segment'}: surely not ${s.upper ? 'above' : 'below'} this`))];
    }),
    ...own.changes.flatMap((c) => [draw('line', { class: 'change', x1: x(c.at), x2: x(c.at), y1: 4, y2: height - 22 }, draw('title', {}, c.text)), draw('text', { class: 'change', x: x(c.at) + 3, y: 12 }, '!', draw('title', {}, c.text))]),
  );
}

/** At most so many rows: a table that long is read by nobody. */
const tableRows = 24;

function pointTable(h: Host, own: HostClock): HTMLTableElement {
  const step = Math.max(1, Math.ceil(own.points.length / tableRows));
  const rows = own.points.filter((_, i) => i % step === 0 || i === own.points.length - 1).map((p) => [
    span(p.at), between(own, p.low, p.high), width(p.low, p.high), width(p.probesLow, p.probesHigh), width(p.segmentsLow, p.segmentsHigh),
  ]);
  const changes = own.changes.map((c) => [span(c.at), c.text, '', '', '']);
  return tableOf(`Offset of ${h.name} over the run`, ['at', 'offset', '±', 'by probes', 'by segments'], [...rows, ...changes], [1, 2, 3, 4]);
}

function between(own: HostClock, low: number | null, high: number | null): string {
  if (low === null || high === null) return 'not bounded';
  const middle = BigInt(own.offsetBase) + BigInt(Math.round((low + high) / 2));
  return `${middle < 0n ? '−' : '+'}${span(Number(middle < 0n ? -middle : middle))}`;
}

function width(low: number | null, high: number | null): string {
  return low === null || high === null ? '' : plusMinus((high - low) / 2);
}

function pairTable(run: Run): HTMLElement {
  const pairs = run.clock?.pairs ?? [];
  if (pairs.length === 0) return make('p', {}, 'No two hosts told each other anything of their clocks.');
  const name = (i: number) => run.hosts[i]?.name ?? '?';
  const table = tableOf('Messages between two hosts', ['', 'probes', 'segments', 'shortest round trip', ''], pairs.map((p) => [
    `${name(p.a)} ⇄ ${name(p.b)}`, `${p.probesThere} / ${p.probesBack}`, `${p.segmentsThere} / ${p.segmentsBack}`,
    p.roundTrip > 0 ? span(p.roundTrip) : '', p.disagreement === '' ? '' : `the methods exclude each other: ${p.disagreement}`,
  ]), [1, 2, 3]);
  return table;
}
