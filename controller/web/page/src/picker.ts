/**
 * The repetitions of the runs, the strangest first, with a strip of all rulings above; and
 * the connections of the repetition that is open.
 */
import type { App, Change, Panel } from './app';
import type { Overview, Ruling, Run } from './data';
import { make } from './elements';
import { fitText } from './ladder/pack';
import { scrollTo, windowOf } from './table_window';
import { span } from './time';

const rowHeight = 28;

/** The most letters of a name in a list to choose from. */
const mostName = 40;

/** How the list may be sorted. */
export type Order = 'oddest' | 'number' | 'slowest';

const severity: Readonly<Record<Ruling, number>> = { fail: 4, 'cannot tell': 3, 'not reproduced': 2, pass: 1, 'no verdict': 0 };

/** A sign for each ruling, so that none is told by its colour alone. */
export const rulingSign: Readonly<Record<Ruling, string>> = {
  pass: '✓', fail: '✗', 'cannot tell': '?', 'not reproduced': '∅', 'no verdict': '–',
};

/** The class of a ruling in the style sheet. */
export function rulingClass(r: Ruling): string {
  return `ruling ${r.replace(' ', '-')}`;
}

/** Sorts repetitions. What failed is always the oddest; equals stay in their order. */
export function sorted(list: readonly Overview[], order: Order): Overview[] {
  const copy = [...list];
  switch (order) {
    case 'number': return copy.sort((a, b) => a.n - b.n);
    case 'slowest': return copy.sort((a, b) => b.took - a.took || a.n - b.n);
    case 'oddest': return copy.sort((a, b) => severity[b.ruling] - severity[a.ruling] || b.oddness - a.oddness || a.n - b.n);
  }
}

/** How many repetitions tell each story, by signature. */
export function stories(list: readonly Overview[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const o of list) counts.set(o.signature, (counts.get(o.signature) ?? 0) + 1);
  return counts;
}

export class Picker implements Panel {
  readonly id = 'repetitions';
  readonly title = 'Repetitions';
  readonly key = 'r';

  private app!: App;
  private order: Order = 'oddest';
  private list: Overview[] = [];
  /** How many repetitions a variant has, and how many of them tell each story. */
  private readonly stories = new Map<string, number>();
  private readonly variants = new Map<string, number>();
  private readonly run = make('select', { 'aria-label': 'run' });
  private readonly sorting = make('select', { 'aria-label': 'order of the list' },
    make('option', { value: 'oddest' }, 'oddest first'), make('option', { value: 'slowest' }, 'slowest first'), make('option', { value: 'number' }, 'by number'));
  private readonly strip = make('canvas', { class: 'rulings', role: 'img', height: 18 });
  private readonly tally = make('p', { class: 'tally' });
  private readonly sheet = make('div', { class: 'sheet', role: 'presentation' });
  private readonly box = make('div', { class: 'repetitions', role: 'listbox', tabindex: 0, 'aria-label': 'repetitions' }, this.sheet);
  private readonly connections = make('div', { class: 'connections' });
  private scheduled = false;

  mount(el: HTMLElement, app: App): void {
    this.app = app;
    app.page.runs.forEach((r, i) => this.run.append(make('option', { value: i }, `${fitText(r.id, mostName)} · ${fitText(r.experiment, mostName)}`)));
    this.run.hidden = app.page.runs.length < 2;
    el.append(
      make('div', { class: 'tools' }, this.run, this.sorting), this.strip, this.tally, this.box,
      make('h3', {}, 'Connections'), this.connections);
    this.run.addEventListener('change', () => this.toRun(Number(this.run.value)));
    this.sorting.addEventListener('change', () => {
      this.order = this.sorting.value as Order;
      this.arrange();
      this.paint();
    });
    this.strip.addEventListener('click', (e) => this.pickFromStrip(e));
    this.box.addEventListener('scroll', () => this.later());
    this.box.addEventListener('keydown', (e) => this.answer(e));
    this.box.addEventListener('click', (e) => {
      const row = e.target instanceof Element ? e.target.closest('[data-n]') : null;
      if (row) app.set({ repetition: Number(row.getAttribute('data-n')) });
    });
    new ResizeObserver(() => this.later()).observe(el);
  }

  update(change: Change): void {
    if (change.has('run')) {
      this.run.value = String(this.app.view.run);
      this.arrange();
    }
    if (change.has('repetition') || change.has('run')) this.reveal();
    if (change.has('data') || change.has('connection')) this.showConnections();
    this.paint();
  }

  private toRun(run: number): void {
    const first = sorted(this.app.page.runs[run]!.repetitions, 'oddest')[0];
    if (first) this.app.set({ run, repetition: first.n });
  }

  private arrange(): void {
    const all = this.app.run.repetitions;
    this.stories.clear();
    this.variants.clear();
    for (const o of all) {
      const story = `${o.variant} ${o.signature}`;
      this.stories.set(story, (this.stories.get(story) ?? 0) + 1);
      this.variants.set(o.variant, (this.variants.get(o.variant) ?? 0) + 1);
    }
    this.list = sorted(all, this.order);
    this.tally.textContent = tallyOf(this.app.run);
    this.strip.setAttribute('aria-label', `rulings in order of repetitions: ${tallyOf(this.app.run)}`);
  }

  private later(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.paint();
    });
  }

  private paint(): void {
    this.paintStrip();
    const { first, last, top, height } = windowOf(this.box.scrollTop, this.box.clientHeight, this.list.length, rowHeight);
    this.sheet.style.height = `${height}px`;
    const rows: HTMLElement[] = [];
    for (let i = first; i < last; i++) rows.push(this.row(this.list[i]!, i, top + (i - first) * rowHeight));
    this.sheet.replaceChildren(...rows);
    const open = this.list.findIndex((o) => o.n === this.app.view.repetition);
    if (open >= first && open < last) this.box.setAttribute('aria-activedescendant', `repetition-${this.app.view.repetition}`);
    else this.box.removeAttribute('aria-activedescendant');
  }

  private row(o: Overview, i: number, top: number): HTMLElement {
    const alike = this.stories.get(`${o.variant} ${o.signature}`) ?? 0;
    const all = this.variants.get(o.variant) ?? 0;
    const story = o.signature === '' || alike * 2 > all ? '' : `order of ${alike} of ${all}`;
    const row = make('div', {
      role: 'option', id: `repetition-${o.n}`, 'data-n': o.n, 'aria-selected': String(o.n === this.app.view.repetition),
      'aria-setsize': this.list.length, 'aria-posinset': i + 1, class: 'line',
    },
    make('span', { class: rulingClass(o.ruling), role: 'img', 'aria-label': o.ruling, title: o.ruling }, rulingSign[o.ruling]),
    make('span', { class: 'n' }, `@${o.n}`),
    make('span', { class: 'why', title: o.why }, [o.variant, o.why, o.odd === '' ? story : o.odd].filter((t) => t !== '').join(' · ')),
    make('span', { class: 'odd', title: o.odd === '' ? 'how far it is from the others' : o.odd }, o.oddness > 0 && o.why === '' && o.odd === '' ? `odd ${o.oddness.toFixed(1)}` : ''),
    make('span', { class: 'took' }, span(o.took)));
    row.classList.toggle('selected', o.n === this.app.view.repetition);
    row.style.top = `${top}px`;
    return row;
  }

  /** One bar for each repetition in order of their numbers, its height and colour the ruling. */
  private paintStrip(): void {
    const all = this.app.run.repetitions;
    const width = this.strip.clientWidth;
    const context = this.strip.getContext('2d');
    if (context === null || width === 0) return;
    const ratio = devicePixelRatio;
    this.strip.width = Math.round(width * ratio);
    this.strip.height = Math.round(18 * ratio);
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.strip);
    const step = width / all.length;
    const colours = new Map((Object.keys(severity) as Ruling[]).map((r) => [r, style.getPropertyValue(`--${r.replace(' ', '-')}`).trim() || style.color]));
    all.forEach((o, i) => {
      const worst = severity[o.ruling];
      context.fillStyle = colours.get(o.ruling)!;
      const tall = 4 + 3 * worst;
      context.fillRect(i * step, 18 - tall, Math.max(0.75, step - (step > 3 ? 1 : 0)), tall);
      if (o.n === this.app.view.repetition) {
        context.fillStyle = style.color;
        context.fillRect(i * step, 0, Math.max(2, step), 2);
      }
    });
  }

  private pickFromStrip(e: MouseEvent): void {
    const all = this.app.run.repetitions;
    const box = this.strip.getBoundingClientRect();
    const picked = all[Math.floor(((e.clientX - box.left) / box.width) * all.length)];
    if (picked) this.app.set({ repetition: picked.n });
  }

  private reveal(): void {
    const at = this.list.findIndex((o) => o.n === this.app.view.repetition);
    if (at < 0) return;
    this.sheet.style.height = `${windowOf(0, 0, this.list.length, rowHeight).height}px`;
    this.box.scrollTop = scrollTo(at, this.box.scrollTop, this.box.clientHeight, this.list.length, rowHeight);
  }

  private answer(e: KeyboardEvent): void {
    if (e.altKey || e.ctrlKey || e.metaKey) return;
    const at = this.list.findIndex((o) => o.n === this.app.view.repetition);
    const page = Math.max(1, Math.floor(this.box.clientHeight / rowHeight) - 1);
    const steps: Record<string, number> = {
      ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.list.length - 1,
    };
    const to = steps[e.key];
    if (to === undefined || this.list.length === 0) return;
    this.app.set({ repetition: this.list[Math.min(Math.max(0, to), this.list.length - 1)]!.n });
    e.preventDefault();
    e.stopPropagation();
  }

  private showConnections(): void {
    const r = this.app.repetition;
    if (r === null) return;
    const names = this.app.run.hosts.map((h) => fitText(h.name, mostName));
    const choices = [{ number: 0, text: r.connections.length === 0 ? 'no TCP connection is on record' : 'all' }, ...r.connections.map((c, i) => ({
      number: i + 1,
      text: `${i + 1}  ${names[c.client.host] ?? '?'} ${c.client.address} → ${names[c.server.host] ?? '?'} ${c.server.address}`,
    }))];
    this.connections.replaceChildren(make('select', {
      size: Math.min(6, Math.max(2, choices.length)), 'aria-label': 'connection',
      onchange: (e) => this.app.set({ connection: Number((e.target as HTMLSelectElement).value) }),
    }, ...choices.map((c) => make('option', { value: c.number, selected: c.number === this.app.view.connection }, c.text))));
  }
}

/** "998 pass, 2 fail of 1,000 repetitions". */
export function tallyOf(run: Run): string {
  const counts = new Map<Ruling, number>();
  for (const o of run.repetitions) counts.set(o.ruling, (counts.get(o.ruling) ?? 0) + 1);
  const words = [...counts].sort((a, b) => severity[b[0]] - severity[a[0]]).map(([r, n]) => `${n.toLocaleString('en')} ${r}`);
  const n = run.repetitions.length;
  return `${words.join(', ')} of ${n.toLocaleString('en')} ${n === 1 ? 'repetition' : 'repetitions'}`;
}
