/** Elements made in one expression. Text is always text: nothing here parses markup. */

import { directions, isolated } from './visible';

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
    else if (value !== false && value !== null && value !== undefined) el.setAttribute(name, isolated(String(value)));
  }
  for (const child of children) if (child !== null) el.append(...(typeof child === 'string' ? textNodes(el, child) : [child]));
}

/** Puts a text in the place of all that an element has. */
export function say(el: Element, text: string): void {
  el.replaceChildren(...textNodes(el, text));
}

/** A text for an element: what runs from right to left stands alone in it. */
function textNodes(el: Element, text: string): (Node | string)[] {
  const pieces = directions(text);
  if (pieces.length === 1) return pieces;
  // An option has no elements in it, and SVG has no bdi.
  if (el instanceof SVGElement || el.localName === 'option' || el.localName === 'title') return [isolated(text)];
  return pieces.map((piece, i) => {
    if (i % 2 === 0) return piece;
    const alone = document.createElement('bdi');
    alone.textContent = piece;
    return alone;
  });
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
