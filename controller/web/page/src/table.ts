/**
 * The moments of the repetition as a table, linked with the ladder: the same moment is
 * selected in both. However long it is, only the rows in sight are made.
 */
import type { App, Change, Panel, Topic } from './app';
import { localTime, type Moment, type Repetition } from './data';
import { make } from './elements';
import { scrollTo, windowOf } from './table_window';
import { fixed, fixedError, groupedNanoseconds, unitName } from './time';

/** The height of a row in pixels; the style sheet has the same. */
const rowHeight = 24;

const columns = ['time', 'host', '', 'event', 'conn'] as const;

/** The moments that a table of the view has, in order. */
export function listed(r: Repetition, connection: number, matches: Uint8Array | null, hide: boolean): Int32Array {
  const list = new Int32Array(r.moments.length);
  let n = 0;
  r.moments.forEach((m, i) => {
    if (connection !== 0 && m.connection !== 0 && m.connection !== connection) return;
    if (hide && matches !== null && matches[i] !== 1) return;
    list[n++] = i;
  });
  return list.subarray(0, n);
}

/** What a moment is, in one sign: an end of a call's bracket, an end of an arrow, a point. */
export function signOf(r: Repetition, i: number): { sign: string; means: string } {
  const m = r.moments[i]!;
  if (m.kind === 'call') return m.edge === 'enter' ? { sign: '┬', means: 'enters' } : { sign: '┴', means: 'returns' };
  const arrow = r.layout.arrows[m.arrow];
  if (m.kind !== 'packet' || arrow === undefined) return { sign: '·', means: m.kind };
  const rightward = arrow.to > arrow.from;
  if (arrow.left === i) {
    if (arrow.lost) return { sign: '╳', means: 'leaves, lost' };
    return { sign: rightward ? '↱' : '↰', means: 'leaves' };
  }
  return { sign: rightward ? '↳' : '↲', means: 'arrives' };
}

export class EventTable implements Panel {
  readonly id = 'events';
  readonly title = 'Events';
  readonly key = 'e';

  private app!: App;
  private list: Int32Array = new Int32Array();
  private readonly sheet = make('div', { class: 'sheet', role: 'rowgroup' });
  private readonly head = make('div', { class: 'line head', role: 'row', 'aria-rowindex': 1 });
  private readonly grid = make('div', { class: 'events', role: 'grid', tabindex: 0, 'aria-colcount': columns.length },
    make('div', { role: 'rowgroup', class: 'heads' }, this.head), this.sheet);
  private readonly empty = make('p', { class: 'empty', hidden: true });
  private scheduled = false;

  mount(el: HTMLElement, app: App): void {
    this.app = app;
    el.append(this.grid, this.empty);
    this.grid.addEventListener('scroll', () => this.later());
    new ResizeObserver(() => {
      // What is opened beside the table may take its place: what is selected stays in sight.
      if (app.view.selected !== null) this.reveal();
      this.later();
    }).observe(this.grid);
    this.grid.addEventListener('keydown', (e) => this.answer(e));
    this.sheet.addEventListener('click', (e) => {
      const i = momentOf(e);
      if (i !== null) app.set({ selected: i });
    });
    this.sheet.addEventListener('dblclick', (e) => {
      const i = momentOf(e);
      if (i !== null) app.set({ selected: i, pinned: i });
    });
  }

  update(change: Change): void {
    const { app } = this;
    const r = app.repetition;
    const any = (...topics: Topic[]) => topics.some((t) => change.has(t));
    if (any('run')) {
      // All rows have one width for hosts, or their columns would not stand under each other.
      const longest = app.run.hosts.reduce((w, h) => Math.max(w, h.name.length), 4);
      this.grid.style.setProperty('--hosts', `${Math.min(longest, 14) + 0.5}ch`);
    }
    if (any('data', 'connection', 'matches', 'filterMode')) {
      this.list = r === null ? new Int32Array() : listed(r, app.view.connection, app.matches, app.view.filterMode === 'hide');
      this.grid.setAttribute('aria-rowcount', String(this.list.length + 1));
      this.grid.setAttribute('aria-label', `events of repetition ${app.view.repetition}`);
      this.empty.hidden = r === null || this.list.length > 0;
      this.empty.textContent = app.matches === null ? 'Nothing of this repetition is on record.' : 'The filter names nothing here.';
    }
    if (any('data', 'selected', 'connection', 'matches', 'filterMode') && app.view.selected !== null) this.reveal();
    this.paint();
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
    const r = this.app.repetition;
    if (r === null) {
      this.sheet.replaceChildren();
      return;
    }
    const raw = this.app.view.times === 'raw';
    const heads = [raw ? 'own clock' : `t/${unitName(r.layout.unit)}`, ...columns.slice(1)];
    this.head.replaceChildren(...heads.map((h, i) => make('span', { role: 'columnheader', 'aria-colindex': i + 1, class: `c${i}` },
      h === '' ? make('span', { class: 'unseen' }, 'sort') : h)));
    this.grid.classList.toggle('raw', raw);
    const { first, last, top, height } = windowOf(this.grid.scrollTop, this.viewport(), this.list.length, rowHeight);
    this.sheet.style.height = `${height}px`;
    const rows: HTMLElement[] = [];
    for (let n = first; n < last; n++) rows.push(this.line(r, n, top + (n - first) * rowHeight));
    this.sheet.replaceChildren(...rows);
    const at = this.app.view.selected === null ? -1 : this.place(this.app.view.selected);
    if (at >= first && at < last) this.grid.setAttribute('aria-activedescendant', `event-${this.app.view.selected}`);
    else this.grid.removeAttribute('aria-activedescendant');
  }

  private line(r: Repetition, n: number, top: number): HTMLElement {
    const i = this.list[n]!;
    const m = r.moments[i]!;
    const { view, matches } = this.app;
    const { sign, means } = signOf(r, i);
    const line = make('div', {
      role: 'row', id: `event-${i}`, 'aria-rowindex': n + 2, 'aria-selected': String(view.selected === i), 'data-moment': i, class: 'line',
    },
    ...[
      timeText(r, m, view.times === 'raw', originOf(r, view.origin)),
      this.app.run.hosts[m.host]?.name ?? '?',
      make('span', { title: means, 'aria-label': means, role: 'img' }, sign),
      m.text,
      m.connection === 0 ? '' : String(m.connection),
    ].map((cell, c) => make('span', { role: 'gridcell', 'aria-colindex': c + 1, class: `c${c}` }, cell)));
    line.classList.toggle('selected', view.selected === i);
    line.classList.toggle('pinned', view.pinned === i);
    line.classList.toggle('mark', view.mark === i);
    line.classList.toggle('dim', matches !== null && matches[i] !== 1);
    line.style.top = `${top}px`;
    return line;
  }

  /** The place of a moment in the list, -1 if it is not in it. */
  private place(moment: number): number {
    let low = 0;
    let high = this.list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.list[middle]! < moment) low = middle + 1;
      else high = middle;
    }
    return this.list[low] === moment ? low : -1;
  }

  /** The height for rows: the column heads stay above them. */
  private viewport(): number {
    return Math.max(rowHeight, this.grid.clientHeight - rowHeight);
  }

  private reveal(): void {
    const at = this.place(this.app.view.selected!);
    if (at < 0) return;
    // The sheet must have its height before it can be scrolled.
    this.sheet.style.height = `${windowOf(0, 0, this.list.length, rowHeight).height}px`;
    this.grid.scrollTop = scrollTo(at, this.grid.scrollTop, this.viewport(), this.list.length, rowHeight);
  }

  private answer(e: KeyboardEvent): void {
    const { selected } = this.app.view;
    if (e.altKey || e.ctrlKey || e.metaKey) return;
    if (e.key === 'Enter' && selected !== null) {
      this.app.set({ pinned: this.app.view.pinned === selected ? null : selected });
    } else {
      const page = Math.max(1, Math.floor(this.viewport() / rowHeight) - 1);
      const at = selected === null ? -1 : this.place(selected);
      const steps: Record<string, number> = {
        ArrowDown: at + 1, ArrowUp: Math.max(0, at - 1), PageDown: at + page, PageUp: at - page, Home: 0, End: this.list.length - 1,
      };
      const to = steps[e.key];
      if (to === undefined || this.list.length === 0) return;
      this.app.set({ selected: this.list[Math.min(Math.max(0, to), this.list.length - 1)]! });
    }
    e.preventDefault();
    e.stopPropagation();
  }
}

/** The time that is shown as 0. */
export function originOf(r: Repetition, origin: number | null): number {
  return origin === null ? 0 : (r.moments[origin]?.at ?? 0);
}

export function timeText(r: Repetition, m: Moment, raw: boolean, origin: number): string {
  if (raw) return groupedNanoseconds(localTime(r, m));
  const { unit, decimals } = r.layout;
  const shown = m.err === 0 || r.layout.rows[m.row]?.showErr === false ? '' : ` ${fixedError(m.err, unit, decimals)}`;
  return fixed(m.at - origin, unit, decimals) + shown;
}

function momentOf(e: Event): number | null {
  const line = e.target instanceof Element ? e.target.closest('[data-moment]') : null;
  return line === null ? null : Number(line.getAttribute('data-moment'));
}
