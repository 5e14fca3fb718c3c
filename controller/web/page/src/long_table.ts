/** A table of any length: only the rows in sight, and some around them, are ever made. */
import { make } from './elements';
import { windowOf } from './table_window';

/** The height of a row in pixels; the style sheet has the same. */
export const rowHeight = 24;

/** So many rows are made beyond those in sight: tables that are not long are there as a whole. */
const margin = 40;

/** What a table shows. */
export interface Content {
  readonly caption: string;
  readonly heads: readonly string[];
  /** Columns of numbers. */
  readonly right: readonly number[];
  /** The texts of the rows, each as long as heads. */
  readonly rows: readonly (readonly string[])[];
  /** Makes the first cell of a row from its text; it is the row's name. */
  readonly name: (row: number, text: string) => Node;
}

/** The most letters that a column is wide; of longer texts the rest is cut, and told by its title. */
const widest = 32;

/** How many letters each column needs. */
export function widthsOf(heads: readonly string[], rows: readonly (readonly string[])[]): number[] {
  return heads.map((h, c) => Math.min(widest, rows.reduce((w, row) => Math.max(w, row[c]!.length), h.length)));
}

export class LongTable {
  readonly el = make('table', { class: 'long' });
  private readonly above = make('tbody', { 'aria-hidden': 'true' });
  private readonly body = make('tbody');
  private readonly below = make('tbody', { 'aria-hidden': 'true' });
  private content: Content | null = null;
  /** Which rows are made now. */
  private first = -1;
  private last = -1;
  private scheduled = false;

  /** scroller is the element around it that scrolls. */
  constructor(private readonly scroller: () => HTMLElement | null) {}

  /** Begins to follow its scroller, which it is in by now. */
  follow(): void {
    const scroller = this.scroller();
    scroller?.addEventListener('scroll', () => this.later(), { passive: true });
    if (scroller !== null) new ResizeObserver(() => this.later()).observe(scroller);
  }

  /** Shows something else. */
  show(content: Content): void {
    this.content = content;
    this.first = this.last = -1;
    const widths = widthsOf(content.heads, content.rows);
    this.el.setAttribute('aria-rowcount', String(content.rows.length + 1));
    this.el.style.width = `calc(${widths.reduce((sum, w) => sum + w, 0)}ch + ${widths.length * 10}px)`;
    this.el.replaceChildren(
      make('caption', {}, content.caption),
      make('colgroup', {}, ...widths.map((w) => {
        const col = make('col');
        col.style.width = `calc(${w}ch + 10px)`;
        return col;
      })),
      make('thead', {}, make('tr', { 'aria-rowindex': 1 }, ...content.heads.map((h, c) => make('th', { scope: 'col', class: this.side(c) }, h)))),
      this.above, this.body, this.below);
    this.paint();
  }

  private side(column: number): string | null {
    return this.content?.right.includes(column) ? 'number' : null;
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
    const { content } = this;
    const scroller = this.scroller();
    if (content === null || scroller === null || scroller.clientHeight === 0) return;
    // Where its rows begin, counted from the upper edge of what is in sight.
    const begin = this.above.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
    const { first, last } = windowOf(-begin, scroller.clientHeight, content.rows.length, rowHeight, margin);
    if (first === this.first && last === this.last) return;
    const had = document.activeElement?.closest('tr')?.getAttribute('aria-rowindex');
    [this.first, this.last] = [first, last];
    this.above.replaceChildren(...this.room(first));
    this.below.replaceChildren(...this.room(content.rows.length - last));
    const rows: HTMLElement[] = [];
    for (let i = first; i < last; i++) rows.push(this.row(content, i));
    this.body.replaceChildren(...rows);
    // Whoever is at a row by keys stays there, though it was made again.
    if (had) this.body.querySelector<HTMLElement>(`tr[aria-rowindex="${had}"] button`)?.focus({ preventScroll: true });
  }

  /** A row as high as so many that are not made. */
  private room(rows: number): HTMLElement[] {
    if (rows === 0) return [];
    const row = make('tr', {}, make('td', { colspan: this.content!.heads.length }));
    row.style.height = `${rows * rowHeight}px`;
    return [row];
  }

  private row(content: Content, i: number): HTMLElement {
    return make('tr', { 'aria-rowindex': i + 2 }, ...content.rows[i]!.map((text, c) => {
      const title = text.length > widest ? text : null;
      return c === 0 ? make('th', { scope: 'row', title }, content.name(i, text)) : make('td', { class: this.side(c), title }, text);
    }));
  }
}
