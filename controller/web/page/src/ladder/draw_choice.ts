/** Draws what is chosen, above the picture: selected, pinned, pointed at, and its causes. */
import { callStep, callWidth, type Frame, mostCalls, noteStep } from './frame';
import { arrowLine, callBox, spanBox, type Window } from './geometry';
import { clipLine } from './pack';
import type { Mark, Scene } from './scene';
import { type Shape, Sketch } from './sketch';

/** What is drawn above the picture for what is chosen: selected, pinned, pointed at. */
export function drawChoice(
  scene: Scene, frame: Frame, w: Window,
  chosen: { selected: number | null; pinned: number | null; mark: number | null; active: number; hovered: number },
): Shape[] {
  const d = new Sketch(scene, frame, w, { raw: false, origin: null }, false);
  for (const [moment, style, text] of [[chosen.selected, 'selectLine', ''], [chosen.pinned, 'pinLine', ''], [chosen.mark, 'mark', 'measured from here']] as const) {
    if (moment !== null) {
      drawHairline(d, moment, style, text);
    }
  }
  if (chosen.selected !== null) {
    drawCauses(d, chosen.selected);
    for (const i of scene.ofMoment.get(chosen.selected) ?? []) {
      drawOutline(d, scene.marks[i]!, 'select', 'selectBox');
    }
  }
  if (chosen.hovered >= 0) {
    drawOutline(d, scene.marks[chosen.hovered]!, 'hover', 'selectBox');
  }
  if (chosen.active >= 0) {
    drawOutline(d, scene.marks[chosen.active]!, 'focus', 'focus');
  }
  return d.finish();
}

function drawHairline(d: Sketch, moment: number, style: string, text: string): void {
  const m = d.r.moments[moment];
  const p = m === undefined ? NaN : (d.s.rows[m.row] ?? NaN);
  if (Number.isNaN(p)) {
    return;
  }
  const y = d.y(p);
  if (y >= 0 && y <= d.w.height) {
    d.line([d.f.time - 6, y, d.f.width - 4, y], style);
    if (text !== '') {
      d.text(d.f.time, y - 4, text, 'start', 'markText');
    }
  }
}

/** The chain that a moment stands in: what brought it about, and what it brought about. */
function drawCauses(d: Sketch, moment: number): void {
  for (const c of d.r.causes) {
    if (c.by !== moment && c.effect !== moment) {
      continue;
    }
    const { moments } = d.r;
    if (c.by >= 0 && moments[c.by]!.arrow >= 0 && moments[c.by]!.arrow === moments[c.effect]!.arrow) {
      // The arrow itself shows it.
      continue;
    }
    const [a, b] = [pointOf(d, c.by), pointOf(d, c.effect)];
    if (a === null || b === null) {
      continue;
    }
    const clipped = clipLine(a.x, a.y, b.x, b.y, -60, d.w.height + 60);
    if (clipped === null) {
      continue;
    }
    d.line(clipped, c.known === 'observed' ? 'cause' : 'causeInferred');
    if (Math.hypot(b.x - a.x, b.y - a.y) > 14) {
      d.head(a.x, a.y, b.x, b.y, 'causeHead');
    }
  }
}

/** Where a moment is drawn. */
function pointOf(d: Sketch, moment: number): { x: number; y: number } | null {
  const m = d.r.moments[moment];
  const lane = m === undefined ? -1 : d.r.layout.lanes.findIndex((l) => l.host === m.host);
  const p = m === undefined ? NaN : (d.s.rows[m.row] ?? NaN);
  if (m === undefined || lane < 0 || Number.isNaN(p)) {
    return null;
  }
  const l = d.f.lanes[lane]!;
  const b = m.bracket >= 0 ? d.r.layout.brackets[m.bracket] : undefined;
  const out = b === undefined ? 0 : 8 + Math.min(b.column, mostCalls - 1) * callStep + callWidth / 2;
  return { x: l.x + l.side * out, y: d.y(p) };
}

function drawOutline(d: Sketch, mark: Mark, line: string, box: string): void {
  const l = d.f.lanes[mark.lane];
  const y = d.y(mark.from);
  switch (mark.kind) {
    case 'arrow': {
      const a = d.r.layout.arrows[mark.ref]!;
      const at = arrowLine(a, d.s, d.f, d.w);
      const clipped = clipLine(at.x0, at.y0, at.x1, at.y1, -60, d.w.height + 60);
      if (clipped !== null) {
        d.line(clipped, line);
        if (line === 'focus') {
          d.circle(at.left ? at.x0 : at.x1, at.left ? at.y0 : at.y1, 7, 'focus');
        }
      }
      break;
    }
    case 'call': {
      const b = callBox(mark, d.f, d.w);
      d.rect(b.x - 2.5, b.y - 2.5, b.w + 5, b.h + 5, box);
      break;
    }
    case 'span': {
      const b = spanBox(mark, d.f, d.w);
      d.rect(b.x - 1.5, b.y, b.w + 3, b.h, box);
      break;
    }
    case 'fold':
      d.rect(d.f.time - 6, y + 1, d.f.width - d.f.time, (mark.to - mark.from) * d.w.scale - 2, box);
      break;
    case 'note':
      d.circle(d.f.note + mark.column * noteStep, y, 11, box);
      break;
    case 'state':
      if (l !== undefined) {
        const x = l.side < 0 ? l.x - l.end : l.x + l.bands - 8;
        d.rect(x, y - 9, l.end - l.bands + 8, 18, box);
      }
      break;
    case 'band':
      if (l !== undefined) {
        d.rect(l.side < 0 ? l.x - l.end : l.x, y, l.end, Math.max(4, (mark.to - mark.from) * d.w.scale), box);
      }
      break;
    default:
      if (l !== undefined) {
        d.circle(l.x, y, 9, box);
      }
  }
}
