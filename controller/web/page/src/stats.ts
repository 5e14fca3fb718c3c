/** The phases over all repetitions: a table of all, and a picture of the one that is chosen. */
import type { App, Change, Panel } from './app';
import type { PhaseStatistics, Ruling } from './data';
import { make, say, tableOf } from './elements';
import { LongTable } from './long_table';
import { plusMinus, span } from './time';
import { fewest, intervalWords, pictureOf, type Series } from './stats_picture';
import { hasInterval } from './stats_math';

/** Up to how many series have their values as tables at once. */
const mostOpen = 4;

/** A phase of one end, in all runs and variants that have it. */
export interface Group {
  /** "connect.blocked", "teardown.fin_wait · server". */
  readonly title: string;
  readonly meaning: string;
  readonly series: readonly Series[];
}

/** Puts the same phases of all runs and variants together, in the order of the first run. */
export function groupsOf(app: App): Group[] {
  const groups = new Map<string, { title: string; meaning: string; series: Series[] }>();
  // Most phases are of one end by their nature; only of the others it must be said.
  const ends = new Map<string, Set<number>>();
  for (const p of app.page.runs.flatMap((r) => r.phases)) ends.set(p.name, (ends.get(p.name) ?? new Set()).add(p.end));
  app.page.runs.forEach((run, index) => {
    const rulings = new Map<number, Ruling>(run.repetitions.map((o) => [o.n, o.ruling]));
    for (const statistics of run.phases) {
      const title = statistics.name + (ends.get(statistics.name)!.size < 2 ? '' : statistics.end === 0 ? ' · client' : statistics.end === 1 ? ' · server' : '');
      let group = groups.get(title);
      if (group === undefined) groups.set(title, (group = { title, meaning: statistics.meaning, series: [] }));
      group.series.push({
        name: [run.id, statistics.variant].filter((t) => t !== '').join(' · '), run: index, statistics,
        rulingOf: (n) => rulings.get(n) ?? 'no verdict',
      });
    }
  });
  return [...groups.values()];
}

export class StatisticsPanel implements Panel {
  readonly id = 'statistics';
  readonly title = 'Statistics';
  readonly key = 'p';

  private app!: App;
  private groups: Group[] = [];
  private chosen = '';
  private readonly variants = make('input', { type: 'checkbox' });
  private readonly heading = make('h3');
  private readonly meaning = make('p', { class: 'meaning' });
  private readonly picture = make('div', { class: 'picture' });
  private readonly remarks = make('ul', { class: 'remarks' });
  private readonly values = make('div');
  private readonly asTable = make('details', {}, make('summary', {}, 'The picture as a table'), this.values);
  private readonly all = make('div', { class: 'phases' });
  private readonly table = new LongTable(() => this.all.closest<HTMLElement>('.panel'));

  mount(el: HTMLElement, app: App): void {
    this.app = app;
    this.groups = groupsOf(app);
    this.chosen = (this.groups.find((g) => g.title.startsWith('connect.blocked')) ?? this.groups[0])?.title ?? '';
    const several = app.page.runs.some((r) => new Set(r.repetitions.map((o) => o.variant)).size > 1);
    el.append(
      this.heading, this.meaning, this.picture,
      make('label', { class: 'switch', hidden: !several }, this.variants, 'all variants'),
      this.remarks, this.asTable, this.all);
    this.all.append(this.table.el);
    this.table.follow();
    this.variants.addEventListener('change', () => {
      this.show();
      this.showAll();
    });
    this.asTable.addEventListener('toggle', () => this.showValues());
    new ResizeObserver(() => this.show()).observe(this.picture);
  }

  update(change: Change): void {
    if (!change.has('repetition') && !change.has('run')) return;
    this.show();
    this.showAll();
  }

  private get group(): Group | undefined {
    return this.shown().find((g) => g.title === this.chosen);
  }

  /**
   * The phases of the variant that is open, in all runs that have it: another variant is
   * another experiment. Or of all of them, if a person wants that.
   */
  private shown(): Group[] {
    if (this.variants.checked) return this.groups;
    const { run, view } = this.app;
    const variant = run.repetitions.find((o) => o.n === view.repetition)?.variant ?? '';
    return this.groups.flatMap((g) => {
      const same = g.series.filter((s) => s.statistics.variant === variant);
      const others = g.series.filter((s) => s.run !== view.run && !same.some((o) => o.run === s.run));
      const series = g.series.filter((s) => same.includes(s) || others.includes(s));
      return series.length === 0 ? [] : [{ ...g, series }];
    });
  }

  private show(): void {
    const { group } = this;
    say(this.heading, group?.title ?? (this.groups.length === 0 ? 'No phase of this run has a length.' : 'This variant has no phase of that name.'));
    say(this.meaning, group?.meaning ?? '');
    this.asTable.hidden = group === undefined;
    if (group === undefined) {
      this.picture.replaceChildren();
      this.remarks.replaceChildren();
      return;
    }
    const width = Math.max(280, this.picture.clientWidth);
    const { view } = this.app;
    this.picture.replaceChildren(pictureOf(group.series, width, { run: view.run, repetition: view.repetition }, (c) => this.app.set({ run: c.run, repetition: c.repetition })));
    this.remarks.replaceChildren(...group.series.flatMap((s) => remarksOf(s)).map((t) => make('li', {}, t)));
    this.showValues();
  }

  /** The same as the picture, for those who do not see it or have no mouse. */
  private showValues(): void {
    const { group } = this;
    if (!this.asTable.open || group === undefined) return;
    // Of many, each is made when somebody opens it.
    this.values.replaceChildren(...group.series.map((s) => {
      if (group.series.length <= mostOpen) return this.valuesOf(s);
      const details = make('details', {}, make('summary', {}, s.name));
      details.addEventListener('toggle', () => details.append(this.valuesOf(s)), { once: true });
      return details;
    }));
  }

  private valuesOf(s: Series): HTMLTableElement {
    const sorted = [...s.statistics.values].sort((a, b) => b.ns - a.ns);
    const shown = sorted.length <= fewest ? sorted : [...sorted.slice(0, 20), ...sorted.slice(-5)];
    const caption = `${s.name}: ${sorted.length <= fewest ? 'all values' : 'the 20 longest and the 5 shortest'}, ${intervalWords(s.statistics)}`;
    return tableOf(caption, ['repetition', 'conn', 'length', '±', 'ruling'], shown.map((v) => [
      make('button', { type: 'button', class: 'link', onclick: () => this.app.set({ run: s.run, repetition: v.repetition }) }, `@${v.repetition}`),
      v.connection === 0 ? '' : String(v.connection), span(v.ns), plusMinus(v.err), s.rulingOf(v.repetition),
    ]), [1, 2, 3]);
  }

  private showAll(): void {
    const groups = this.shown();
    const several = groups.some((g) => g.series.length > 1);
    const of = groups.flatMap((g) => g.series.map((s) => [g, s] as const));
    const heads = ['phase', ...(several ? ['run'] : []), 'n', 'min', 'median', 'interval of the median', 'p90', 'p99', 'max', '±'];
    this.table.show({
      caption: 'All phases', heads, right: heads.map((_, i) => i).slice(several ? 2 : 1),
      rows: of.map(([g, s]) => [g.title, ...(several ? [s.name] : []), s.statistics.n.toLocaleString('en'), ...figuresOf(s.statistics)]),
      name: (i, text) => make('button', {
        type: 'button', class: 'link', 'aria-pressed': String(text === this.chosen), onclick: () => this.choose(of[i]![0]),
      }, text),
    });
  }

  private choose(g: Group): void {
    this.chosen = g.title;
    this.show();
    for (const b of this.all.querySelectorAll('button')) b.setAttribute('aria-pressed', String(b.textContent === g.title));
    this.heading.scrollIntoView({ block: 'nearest' });
    this.app.announce(`${g.title}: ${g.series.map((s) => intervalWords(s.statistics)).join('; ')}`);
  }
}

function remarksOf(s: Series): string[] {
  return s.statistics.warnings.map((w) => `${s.name}: ${w}`);
}

/** The figures of a phase in the order of the table's columns; blank where no value counts. */
export function figuresOf(p: PhaseStatistics): string[] {
  if (p.n === 0) return ['', '', '', '', '', '', ''];
  return [span(p.min), span(p.median), hasInterval(p) ? `${span(p.low)} … ${span(p.high)}` : '', span(p.p90), span(p.p99), span(p.max), plusMinus(p.err)];
}
