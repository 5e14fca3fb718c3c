/** Draws shapes as SVG: every text stays text, and the colours follow the theme. */
import type { Shape } from './sketch';
import { isolated } from '../visible';
import { type Style, styleOf } from './style';

const namespace = 'http://www.w3.org/2000/svg';

/** How much of its strength a shape keeps that the filter does not name. */
export const dimmed = 0.18;

/** How a colour's name becomes a colour: a variable of the page, or what that now is. */
export type Colour = (name: string) => string;

const variable: Colour = (name) => `var(--${name})`;

/** Replaces what a group has by shapes. */
export function drawSVG(group: SVGElement, shapes: readonly Shape[], colour: Colour = variable): void {
  const all = document.createDocumentFragment();
  for (const shape of shapes) {
    all.append(element(shape, colour));
  }
  group.replaceChildren(all);
}

function element(shape: Shape, colour: Colour): SVGElement {
  const style = styleOf(shape.style);
  switch (shape.t) {
    case 'line':
      return make('polyline', { points: points(shape.points), fill: 'none', 'stroke-linecap': 'round', 'stroke-linejoin': 'round', ...look(style, colour, shape.dim, false) });
    case 'poly':
      return make('polygon', { points: points(shape.points), ...look(style, colour, shape.dim) });
    case 'rect':
      return make('rect', { x: round(shape.x), y: round(shape.y), width: round(shape.w), height: round(Math.max(0, shape.h)), rx: 2, ...look(style, colour, shape.dim) });
    case 'circle':
      return make('circle', { cx: round(shape.x), cy: round(shape.y), r: shape.r, ...look(style, colour, shape.dim) });
    case 'text': {
      const text = make('text', { x: round(shape.x), y: round(shape.y), 'text-anchor': shape.anchor, ...look(style, colour, shape.dim) });
      text.textContent = isolated(shape.text);
      return text;
    }
  }
}

function look(style: Style, colour: Colour, dim: boolean, filled = true): Record<string, string | number> {
  const a: Record<string, string | number> = {};
  if (filled) {
    a['fill'] = style.fill === undefined ? 'none' : colour(style.fill);
  }
  if (style.stroke !== undefined) {
    a['stroke'] = colour(style.stroke);
    a['stroke-width'] = style.width ?? 1;
  }
  if (style.dash !== undefined) {
    a['stroke-dasharray'] = style.dash.join(' ');
  }
  const opacity = (style.opacity ?? 1) * (dim ? dimmed : 1);
  if (opacity < 1) {
    a['opacity'] = opacity;
  }
  if (style.size !== undefined) {
    a['font-size'] = style.size;
  }
  if (style.weight !== undefined) {
    a['font-weight'] = style.weight;
  }
  if (style.italic) {
    a['font-style'] = 'italic';
  }
  if (style.halo !== undefined) {
    a['stroke'] = colour(style.halo);
    a['stroke-width'] = 3.5;
    a['stroke-linejoin'] = 'round';
    a['paint-order'] = 'stroke';
  }
  return a;
}

function make(name: string, attributes: Record<string, string | number>): SVGElement {
  const el = document.createElementNS(namespace, name);
  for (const [key, value] of Object.entries(attributes)) {
    el.setAttribute(key, String(value));
  }
  return el;
}

function points(list: readonly number[]): string {
  let text = '';
  for (let i = 0; i < list.length; i += 2) {
    text += `${i > 0 ? ' ' : ''}${round(list[i]!)},${round(list[i + 1]!)}`;
  }
  return text;
}

function round(n: number): number {
  return Math.round(n * 100) / 100;
}
