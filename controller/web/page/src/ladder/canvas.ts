/** Draws shapes on a canvas, for pictures of more marks than SVG is quick with. */
import type { Shape } from './sketch';
import { styleOf } from './style';
import { type Colour, dimmed } from './svg';

/**
 * How many shapes of one style are drawn at once. One at a time costs a call for each, and a
 * path of thousands costs more than all of them, since they cross each other.
 */
const together = 32;

/** Draws the shapes, those of one style that follow each other together. */
export function drawCanvas(c: CanvasRenderingContext2D, shapes: readonly Shape[], colour: Colour, font: string): void {
  c.lineCap = 'round';
  c.lineJoin = 'round';
  for (let i = 0; i < shapes.length;) {
    const head = shapes[i]!;
    let end = i + 1;
    while (end < shapes.length && end - i < together && shapes[end]!.style === head.style && shapes[end]!.dim === head.dim && shapes[end]!.t === head.t) {
      end++;
    }
    const style = styleOf(head.style);
    c.globalAlpha = (style.opacity ?? 1) * (head.dim ? dimmed : 1);
    c.setLineDash(style.dash === undefined ? [] : [...style.dash]);
    if (head.t === 'text') {
      c.font = `${style.italic ? 'italic ' : ''}${style.weight ?? 400} ${style.size ?? 12}px ${font}`;
      for (let k = i; k < end; k++) {
        const text = shapes[k]!;
        if (text.t !== 'text') {
          continue;
        }
        c.textAlign = text.anchor === 'middle' ? 'center' : text.anchor;
        if (style.halo !== undefined) {
          c.strokeStyle = colour(style.halo);
          c.lineWidth = 3.5;
          c.strokeText(text.text, text.x, text.y);
        }
        c.fillStyle = colour(style.fill ?? 'text');
        c.fillText(text.text, text.x, text.y);
      }
    } else {
      c.beginPath();
      for (let k = i; k < end; k++) {
        trace(c, shapes[k]!);
      }
      if (style.fill !== undefined && head.t !== 'line') {
        c.fillStyle = colour(style.fill);
        c.fill();
      }
      if (style.stroke !== undefined) {
        c.strokeStyle = colour(style.stroke);
        c.lineWidth = style.width ?? 1;
        c.stroke();
      }
    }
    i = end;
  }
  c.globalAlpha = 1;
  c.setLineDash([]);
}

function trace(c: CanvasRenderingContext2D, shape: Shape): void {
  switch (shape.t) {
    case 'line':
    case 'poly':
      c.moveTo(shape.points[0]!, shape.points[1]!);
      for (let i = 2; i < shape.points.length; i += 2) {
        c.lineTo(shape.points[i]!, shape.points[i + 1]!);
      }
      if (shape.t === 'poly') {
        c.closePath();
      }
      break;
    case 'rect':
      c.rect(shape.x, shape.y, shape.w, Math.max(0, shape.h));
      break;
    case 'circle':
      c.moveTo(shape.x + shape.r, shape.y);
      c.arc(shape.x, shape.y, shape.r, 0, 2 * Math.PI);
      break;
    case 'text':
      break;
  }
}
