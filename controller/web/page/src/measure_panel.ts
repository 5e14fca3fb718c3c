/**
 * Measures: from the marked moment to the selected one, and what lies in the part of the
 * timeline that is in sight.
 */
import type { App, Change, Panel } from './app';
import type { Repetition } from './data';
import { make, tableOf } from './elements';
import { areaOf, distance, type Distance, type Spread } from './measure';
import { plusMinus, span } from './time';

export class MeasurePanel implements Panel {
  readonly id = 'measure';
  readonly title = 'Measure';
  readonly key = 'm';

  private app!: App;
  private readonly result = make('div', { class: 'measured', role: 'status' });
  private readonly area = make('div', { class: 'area' });
  private readonly from = make('button', { type: 'button', onclick: () => this.markSelected() }, 'Measure from the selected moment (x)');
  private readonly swap = make('button', { type: 'button', onclick: () => this.swapEnds() }, 'Swap');
  private readonly clear = make('button', { type: 'button', onclick: () => this.app.set({ mark: null }) }, 'Clear');
  private readonly align = make('button', { type: 'button', onclick: () => this.alignOnSelected() }, 'Show the selected moment as 0 (z)');

  mount(el: HTMLElement, app: App): void {
    this.app = app;
    el.append(
      make('div', { class: 'tools' }, this.from, this.swap, this.clear, this.align), this.result,
      make('h3', {}, 'In sight'), this.area);
  }

  /** Adds the keys that measure. They work whether the panel is open or not. */
  bind(app: App): void {
    this.app = app;
    const group = 'Measure';
    app.keys.add({ keys: ['x'], does: 'measure from the selected moment', group, run: () => this.markSelected() });
    app.keys.add({ keys: ['X'], does: 'swap the ends of the measure', group, run: () => this.swapEnds() });
    app.keys.add({ keys: ['z'], does: 'show the selected moment as 0, and again the zero of the run', group, run: () => this.alignOnSelected() });
  }

  update(change: Change): void {
    const { app } = this;
    const r = app.repetition;
    if (r === null) {
      this.result.textContent = '';
      this.area.textContent = '';
      return;
    }
    if (['data', 'mark', 'selected', 'origin'].some((t) => change.has(t as 'data'))) this.showResult(r);
    if (['data', 'range', 'connection'].some((t) => change.has(t as 'data'))) this.showArea(r);
  }

  private showResult(r: Repetition): void {
    const { mark, selected, origin } = this.app.view;
    this.from.disabled = selected === null;
    this.align.disabled = selected === null && origin === null;
    this.align.textContent = origin === null || selected !== null && selected !== origin ? 'Show the selected moment as 0 (z)' : 'Count from the zero of the repetition (z)';
    this.swap.disabled = mark === null || selected === null;
    this.clear.disabled = mark === null;
    if (mark === null || selected === null) {
      this.result.replaceChildren(make('p', {}, mark === null
        ? 'Select a moment, in the ladder or in the table, and press x. Then select another.'
        : `From ${wordsOf(this.app, r, mark)}. Select the moment to measure to.`));
      return;
    }
    const d = distance(this.app.run, r, mark, selected);
    this.result.replaceChildren(
      make('p', { class: 'delta' }, `Δ ${inWords(d)}`),
      make('dl', {},
        make('dt', {}, 'from'), make('dd', {}, wordsOf(this.app, r, mark)),
        make('dt', {}, 'to'), make('dd', {}, wordsOf(this.app, r, selected)),
        make('dt', {}, 'by'), make('dd', {}, d.by),
        make('dt', {}, 'order'), make('dd', {}, orderWords(d))),
      make('p', { class: 'doubt', hidden: d.doubt === '' }, d.doubt));
  }

  private showArea(r: Repetition): void {
    const { range, connection } = this.app.view;
    const [low, high] = range ?? wholeOf(r);
    const a = areaOf(r, low, high, connection);
    const row = (name: string, s: Spread) => [name, String(s.n), ...[s.min, s.median, s.max].map((v) => (s.n === 0 ? '' : span(v))), s.n === 0 ? '' : plusMinus(s.err)];
    this.area.replaceChildren(
      make('p', {}, `${a.moments.toLocaleString('en')} moments in ${span(high - low)}, from ${span(low)} to ${span(high)}${range === null ? ': all' : ''}.`),
      tableOf('What begins in sight, and how long it takes', ['', 'n', 'min', 'median', 'max', '±'], [row('calls', a.calls), row('packets on the way', a.packets)], [1, 2, 3, 4, 5]),
      tableOf('Packets in sight', ['flags', 'n'], [...a.flags].sort((x, y) => y[1] - x[1]).map(([f, n]) => [f, n.toLocaleString('en')]), [1]));
  }

  private markSelected(): void {
    const { selected } = this.app.view;
    if (selected === null) {
      this.app.announce('select a moment first');
      return;
    }
    this.app.set({ mark: selected });
    this.app.announce('measuring from here: select another moment');
  }

  private swapEnds(): void {
    const { mark, selected } = this.app.view;
    if (mark !== null && selected !== null) this.app.set({ mark: selected, selected: mark });
  }

  private alignOnSelected(): void {
    const { selected, origin } = this.app.view;
    this.app.set({ origin: selected === null || selected === origin ? null : selected });
  }
}

/** "20.02 ms ±38 µs", "exactly 46.213 µs". */
export function inWords(d: Distance): string {
  if (Number.isNaN(d.ns)) return 'not known';
  if (d.err === 0) return `${span(d.ns)} exactly (${d.ns.toLocaleString('en').replace('-', '−')} ns)`;
  return `${span(d.ns)} ${plusMinus(d.err)}`;
}

function orderWords(d: Distance): string {
  switch (d.order) {
    case 'first': return 'the first was earlier, surely';
    case 'second': return 'the second was earlier, surely';
    case 'same': return 'the same reading of one clock';
    case 'not known': return 'not known from the clocks';
  }
}

/** A moment in a line: "A: connect B:8080". */
export function wordsOf(app: App, r: Repetition, i: number): string {
  const m = r.moments[i];
  if (m === undefined) return 'nothing on record';
  const host = app.run.hosts[m.host]?.name ?? '?';
  return `${host}: ${m.text}`;
}

function wholeOf(r: Repetition): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const m of r.moments) {
    low = Math.min(low, m.at);
    high = Math.max(high, m.at);
  }
  return low <= high ? [low, high] : [0, 0];
}
