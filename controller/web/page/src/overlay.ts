/** Compares: the open repetition with all others at once, and step by step with one of them. */
import type { App, Change, Panel } from './app';
import type { Overview, Repetition, Run } from './data';
import { make, say } from './elements';
import { fitText } from './ladder/pack';
import { Latest } from './latest';
import { compare, type Line, mostChanges } from './overlay_diff';
import { type Frame, frameOf, nearest, paintOverlay, type Trace, traceOf } from './overlay_picture';
import { stories } from './picker';
import { fixed, fixedError, plusMinus, span, unitName } from './time';

/** So many repetitions lie over each other; of more, the oddest and some of the others. */
const mostTraces = 300;

/** So many lines of a comparison are shown. */
const mostLines = 1000;

const pictureHeight = 340;

export class ComparePanel implements Panel {
  readonly id = 'compare';
  readonly title = 'Compare';
  readonly key = 'o';

  private app!: App;
  private traces: Trace[] = [];
  private frame: Frame | null = null;
  /** The run and the variant whose traces are there or on their way; '' if there are none. */
  private of = '';
  private readonly gathering = new Latest();
  private readonly canvas = make('canvas', { class: 'overlay', role: 'img', height: pictureHeight });
  private readonly progress = make('p', { class: 'progress', role: 'status' });
  private readonly orders = make('div');
  private readonly run = make('select', { 'aria-label': 'run to compare with' });
  private readonly number = make('input', { type: 'number', min: 1, step: 1, 'aria-label': 'repetition to compare with' });
  private readonly changed = make('input', { type: 'checkbox', checked: true });
  private readonly result = make('div', { class: 'comparison' });
  private readonly comparing = new Latest();

  mount(el: HTMLElement, app: App): void {
    this.app = app;
    app.page.runs.forEach((r, i) => this.run.append(make('option', { value: i }, `${fitText(r.id, 40)} · ${fitText(r.experiment, 40)}`)));
    this.run.hidden = app.page.runs.length < 2;
    el.append(
      make('h3', {}, 'All repetitions over each other'), this.canvas, this.progress, this.orders,
      make('h3', {}, 'Step by step'),
      make('form', { class: 'tools', onsubmit: (e) => { e.preventDefault(); this.choose(); } },
        this.run, make('label', {}, 'repetition ', this.number), make('button', {}, 'Compare'),
        make('button', { type: 'button', onclick: () => this.chooseUsual() }, 'With a usual one'),
        make('button', { type: 'button', onclick: () => app.set({ compare: '' }) }, 'Clear'),
        make('label', { class: 'switch' }, this.changed, 'changes only')),
      this.result);
    this.changed.addEventListener('change', () => void this.showComparison());
    this.canvas.addEventListener('click', (e) => {
      const n = this.frame && nearest(this.frame, this.traces, e.offsetX, e.offsetY);
      if (n !== null) app.set({ repetition: n });
    });
    new ResizeObserver(() => this.paint()).observe(this.canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.paint());
  }

  update(change: Change): void {
    if (change.has('run') || change.has('repetition')) {
      this.showOrders();
      void this.gather();
    }
    if (change.has('data') || change.has('scale')) this.paint();
    if (change.has('data') || change.has('compare')) void this.showComparison();
  }

  /** Lays all repetitions of the run and variant that are open over each other, unless they are there. */
  private async gather(): Promise<void> {
    const { app } = this;
    const index = app.view.run;
    const alike = alikeOf(app);
    const of = `${index}:${alike[0]?.variant ?? ''}`;
    if (this.of === of) return;
    this.of = of;
    this.traces = [];
    const wanted = this.gathering.ask();
    const chosen = someOf(alike);
    const outcome = await gather(chosen, (o) => app.other(index, o.n), wanted, async (traces) => {
      this.traces = traces;
      say(this.progress, `${traces.length} of ${chosen.length} …`);
      this.paint();
      // Leaves the page time to answer.
      await new Promise((done) => setTimeout(done));
    });
    if (outcome === null) return;
    this.traces = outcome.traces;
    if (outcome.failed !== null) {
      // Asked for again when the panel is next told of a choice.
      this.of = '';
      say(this.progress, `${outcome.traces.length} of ${chosen.length}: repetition ${outcome.failed.n} cannot be laid over the others`);
      app.fail(`repetition ${outcome.failed.n} cannot be laid over the others`, outcome.failed.error);
    } else {
      const all = alike.length;
      say(this.progress, `${chosen.length === all ? '' : `${chosen.length} of `}${repetitions(all, alike)}${chosen.length === all ? '' : ': the oddest, and every so many of the others'}`);
    }
    this.paint();
  }

  private paint(): void {
    const r = this.app.repetition;
    const width = this.canvas.clientWidth;
    const context = this.canvas.getContext('2d');
    if (r === null || width === 0 || context === null) return;
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(pictureHeight * devicePixelRatio);
    context.scale(devicePixelRatio, devicePixelRatio);
    this.frame = frameOf(r, this.app.view.scale, width, pictureHeight);
    const style = getComputedStyle(this.canvas);
    paintOverlay(context, this.frame, r.layout.lanes.length, this.traces, traceOf(r), (name) => style.getPropertyValue(`--${name}`).trim() || 'gray');
    this.canvas.setAttribute('aria-label', `packets of ${this.traces.length} repetitions as thin lines over each other, those of repetition ${r.n} as bold ones. The orders of events below tell how they differ.`);
  }

  /** What a person who does not see the picture needs of it: which orders there are. */
  private showOrders(): void {
    const alike = alikeOf(this.app);
    const counts = [...stories(alike)].sort((a, b) => b[1] - a[1]);
    if (counts.length <= 1) {
      const same = counts[0]?.[0] !== '' && alike.length > 1;
      this.orders.replaceChildren(...(same ? [make('p', {}, `All ${repetitions(alike.length, alike)} tell the same story.`)] : []));
      return;
    }
    this.orders.replaceChildren(make('p', {}, `${counts.length} orders of events:`), make('ul', { class: 'orders' }, ...counts.slice(0, 12).map(([signature, n]) => {
      const first = alike.find((o) => o.signature === signature)!;
      return make('li', {}, `${n.toLocaleString('en')} ×, as in `, make('button', { type: 'button', class: 'link', onclick: () => this.app.set({ repetition: first.n }) }, `@${first.n}`));
    })));
  }

  private choose(): void {
    const run = Number(this.run.value);
    const n = Number(this.number.value);
    if (!this.app.page.runs[run]?.repetitions.some((o) => o.n === n)) {
      this.result.replaceChildren(make('p', { class: 'trouble', role: 'alert' }, `${this.app.page.runs[run]?.id ?? 'The run'} has no repetition ${this.number.value || '(none given)'} in this page.`));
      return;
    }
    this.app.set({ compare: `${run}:${n}` });
  }

  /** One that tells the commonest story and is the least odd of those, but not this one. */
  private chooseUsual(): void {
    const { run, view } = this.app;
    const usual = usualOf(alikeOf(this.app), view.repetition) ?? usualOf(run.repetitions, view.repetition);
    if (usual) this.app.set({ compare: `${view.run}:${usual.n}` });
    else this.app.announce('there is no other repetition');
  }

  private async showComparison(): Promise<void> {
    const { app } = this;
    const { compare: other } = app.view;
    const a = app.repetition;
    const wanted = this.comparing.ask();
    if (a === null) return;
    if (other === '') {
      this.result.replaceChildren(make('p', {}, 'Choose a repetition to compare with.'));
      return;
    }
    const [run = NaN, n = NaN] = other.split(':').map(Number);
    const runB = app.page.runs[run];
    if (runB === undefined || !runB.repetitions.some((o) => o.n === n)) {
      this.result.replaceChildren(make('p', { class: 'trouble' }, `The page has no repetition ${n} of run ${run + 1} to compare with.`));
      return;
    }
    this.run.value = String(run);
    this.number.value = String(n);
    let b: Repetition;
    try {
      b = await app.other(run, n);
    } catch (error) {
      if (wanted()) app.fail(`repetition ${n} of run ${runB.id} cannot be compared`, error);
      return;
    }
    if (wanted()) this.result.replaceChildren(...this.lines(app.run, a, runB, b));
  }

  private lines(runA: Run, a: Repetition, runB: Run, b: Repetition): Node[] {
    const { lines, left, unlike } = compare(runA, a, runB, b);
    const judged = judge(lines, a, b);
    const changes = judged.filter((l) => l.changed !== '').length;
    const shown = (this.changed.checked ? judged.filter((l) => l.changed !== '') : judged).slice(0, mostLines);
    const nameB = `${runA === runB ? '' : `${runB.id} `}@${b.n}`;
    const { unit, decimals } = a.layout;
    const time = (r: Repetition, i: number) => (i < 0 ? '' : fixed(r.moments[i]!.at, unit, decimals) + (r.moments[i]!.err === 0 ? '' : ` ${fixedError(r.moments[i]!.err, unit, decimals)}`));
    const head = `@${a.n} beside ${nameB}, both from their own zero: ${judged.length.toLocaleString('en')} steps, ${changes.toLocaleString('en')} changed`;
    const table = make('table', {},
      make('caption', {}, head),
      make('thead', {}, make('tr', {}, ...['', 'event', `@${a.n}, ${unitName(unit)}`, `${nameB}, ${unitName(unit)}`, 'Δ'].map((h) => make('th', { scope: 'col' }, h === '' ? make('span', { class: 'unseen' }, 'change') : h)))),
      make('tbody', {}, ...shown.map((l) => {
        const [r, run, i] = l.a >= 0 ? [a, runA, l.a] as const : [b, runB, l.b] as const;
        const m = r.moments[i]!;
        return make('tr', { class: l.changed.split(' ')[0] ?? '' },
          make('td', { class: 'sign' }, sign(l.changed)),
          make('td', { class: 'event', title: m.text }, `${run.hosts[m.host]?.name ?? '?'}  `,
            l.a >= 0 ? make('button', { type: 'button', class: 'link', onclick: () => this.app.set({ selected: l.a }) }, m.text) : m.text),
          make('td', { class: 'number' }, time(a, l.a)), make('td', { class: 'number' }, time(b, l.b)),
          make('td', { class: 'number' }, l.a >= 0 && l.b >= 0 ? `${l.delta > 0 ? '+' : ''}${span(l.delta)} ${l.err === 0 ? '' : plusMinus(l.err)}` : ''));
      })));
    const more = shown.length === mostLines ? [make('p', {}, `Only the first ${mostLines.toLocaleString('en')} lines are shown.`)] : [];
    const cut = left > 0 ? [make('p', { class: 'doubt' }, `${left.toLocaleString('en')} later moments were not compared: the repetitions are too long.`)] : [];
    if (unlike.length > 0) cut.push(make('p', { class: 'doubt' }, `More than ${mostChanges.toLocaleString('en')} steps of ${unlike.join(' and ')} are gone or new: there, what follows is shown as gone or new as a whole, and steps that both have may be among it.`));
    return shown.length === 0 && changes === 0
      ? [make('p', {}, head + '.'), ...cut]
      : [table, ...more, ...cut];
  }
}

/** So many traces are gathered between two looks at the page. */
const atOnce = 25;

/**
 * Reads repetitions one after the other and makes their traces, telling of those that are
 * there now and then. It ends with null, and tells no more, as soon as it is not wanted: then
 * others are being gathered, and what is late must not be among them.
 */
export async function gather(
  chosen: readonly Overview[], read: (o: Overview) => Promise<Repetition>, wanted: () => boolean, tell: (traces: Trace[]) => Promise<void>,
): Promise<{ traces: Trace[]; failed: { n: number; error: unknown } | null } | null> {
  const traces: Trace[] = [];
  for (const [i, o] of chosen.entries()) {
    let r: Repetition;
    try {
      r = await read(o);
    } catch (error) {
      return wanted() ? { traces, failed: { n: o.n, error } } : null;
    }
    if (!wanted()) return null;
    traces.push(traceOf(r));
    if (i % atOnce === 0) {
      await tell([...traces]);
      if (!wanted()) return null;
    }
  }
  return { traces, failed: null };
}

/** A line of the comparison with what is different. */
export interface Judged extends Line {
  /** How much later the second has it, and how sure that is; NaN if only one has it. */
  readonly delta: number;
  readonly err: number | null;
  /** "" if nothing; "only-a", "only-b", "slower", "faster". */
  readonly changed: string;
}

/**
 * Says what of each line is different: the step is in one only, or the time since the
 * line before differs: by more than the clocks leave open, by more than a tenth of it, and by
 * more than a hundredth of what all the steps of both took.
 */
export function judge(lines: readonly Line[], a: Repetition, b: Repetition): Judged[] {
  let before: { at: number; delta: number; err: number } | null = null;
  const both = lines.filter((l) => l.a >= 0 && l.b >= 0);
  const [first, last] = [both[0], both.at(-1)];
  const whole = first === undefined || last === undefined ? 0 : Math.max(
    Math.abs(a.moments[last.a]!.at - a.moments[first.a]!.at), Math.abs(b.moments[last.b]!.at - b.moments[first.b]!.at));
  return lines.map((l) => {
    if (l.a < 0 || l.b < 0) return { ...l, delta: NaN, err: null, changed: l.b < 0 ? 'only-a' : 'only-b' };
    const [p, q] = [a.moments[l.a]!, b.moments[l.b]!];
    const delta = q.at - p.at;
    if (p.err === null || q.err === null) return { ...l, delta, err: null, changed: '' };
    const err = p.err + q.err;
    const gained = before === null ? 0 : delta - before.delta;
    const took = before === null ? 0 : Math.abs(p.at - before.at);
    const sure = before !== null && Math.abs(gained) > err + before.err && Math.abs(gained) > 0.1 * Math.max(took, took + gained) && Math.abs(gained) > 0.01 * whole;
    before = { at: p.at, delta, err };
    return { ...l, delta, err, changed: sure ? (gained > 0 ? 'slower' : 'faster') : '' };
  });
}

function sign(changed: string): string {
  switch (changed) {
    case 'only-a': return '− gone';
    case 'only-b': return '+ new';
    case 'slower': return '▲ slower';
    case 'faster': return '▼ faster';
  }
  return '';
}

/** The repetitions of the variant that the open one is of: others are of another experiment. */
function alikeOf(app: App): Overview[] {
  const all = app.run.repetitions;
  const variant = all.find((o) => o.n === app.view.repetition)?.variant ?? '';
  return all.filter((o) => o.variant === variant);
}

function repetitions(n: number, of: readonly Overview[]): string {
  const variant = of[0]?.variant ?? '';
  return `${n.toLocaleString('en')} ${n === 1 ? 'repetition' : 'repetitions'}${variant === '' ? '' : ` of ${variant}`}`;
}

/** The oddest, and of the others every so many. */
export function someOf(all: readonly Overview[]): Overview[] {
  if (all.length <= mostTraces) return byBlock(all);
  const odd = [...all].sort((x, y) => y.oddness - x.oddness || x.n - y.n).slice(0, mostTraces / 3);
  const rest = all.filter((o) => !odd.includes(o));
  const step = rest.length / (mostTraces - odd.length);
  const some = Array.from({ length: mostTraces - odd.length }, (_, i) => rest[Math.floor(i * step)]!);
  return byBlock([...odd, ...some]);
}

/** In the order in which they lie in the page, so that each block is unpacked once. */
function byBlock(list: readonly Overview[]): Overview[] {
  return [...list].sort((x, y) => x.block - y.block || x.index - y.index);
}

/** The least odd of those that tell the commonest story. */
export function usualOf(all: readonly Overview[], not: number): Overview | undefined {
  const counts = stories(all);
  return [...all].filter((o) => o.n !== not)
    .sort((x, y) => (counts.get(y.signature) ?? 0) - (counts.get(x.signature) ?? 0) || x.oddness - y.oddness || x.n - y.n)[0];
}
