/** Elements made in one expression. Text is always text: nothing here parses markup. */

type Props = Readonly<Record<string, string | number | boolean | null | undefined | ((e: Event) => void)>>;
type Child = Node | string | null;

/**
 * Makes an HTML element. A function is a listener, under the event's name with `on` before
 * it; true is an attribute without a value; false, null and undefined are none.
 */
export function make<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const el = document.createElement(tag);
  fill(el, props, children);
  return el;
}

/** Makes an SVG element. */
export function draw<K extends keyof SVGElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): SVGElementTagNameMap[K] {
  const el = document.createElementNS('http://www.w3.org/2000/svg', tag);
  fill(el, props, children);
  return el;
}

function fill(el: Element, props: Props, children: readonly Child[]): void {
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') el.addEventListener(name.slice(2), value);
    else if (value === true) el.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) el.setAttribute(name, String(value));
  }
  for (const child of children) if (child !== null) el.append(child);
}

/** A table with its caption, for figures that are also drawn. Columns named in `right` are numbers. */
export function tableOf(caption: string, heads: readonly string[], rows: readonly (readonly Child[])[], right: readonly number[] = []): HTMLTableElement {
  const side = (i: number) => (right.includes(i) ? 'number' : null);
  return make('table', {},
    make('caption', {}, caption),
    make('thead', {}, make('tr', {}, ...heads.map((h, i) => make('th', { scope: 'col', class: side(i) }, h)))),
    make('tbody', {}, ...rows.map((row) => make('tr', {}, ...row.map((cell, i) => (
      i === 0 ? make('th', { scope: 'row' }, cell) : make('td', { class: side(i) }, cell)))))),
  );
}
