/** Which mark is at a point of the picture. */
import { type Frame, noteStep } from './frame';
import type { Mark, Scene } from './scene';
import { arrowLine, callBox, spanBox, type Window } from './geometry';

/** How far from a mark one may point and still mean it, in pixels. */
export const reach = 7;

/** What is drawn above others wins where both are as near. */
const above: Readonly<Record<Mark['kind'], number>> = {
  note: 8, drop: 7, state: 5, sentence: 4, arrow: 6, call: 5, span: 3, fold: 2, band: 1,
};

/** The mark at a point, -1 if there is none. */
export function hitTest(scene: Scene, frame: Frame, w: Window, x: number, y: number): number {
  const at = w.top + y / w.scale;
  const room = 16 / w.scale;
  const near = scene.index.touching(at - room, at + room);
  let [best, bestDistance, bestRank] = [-1, Infinity, -1];
  for (const i of near) {
    const mark = scene.marks[i]!;
    const distance = distanceTo(mark, scene, frame, w, x, y);
    if (distance > reach) {
      continue;
    }
    const rank = above[mark.kind];
    if (distance < bestDistance - 2 || (distance <= bestDistance + 2 && rank > bestRank)) {
      [best, bestDistance, bestRank] = [i, distance, rank];
    }
  }
  return best;
}

/** How far a point is from a mark, in pixels; 0 within it. */
export function distanceTo(mark: Mark, scene: Scene, frame: Frame, w: Window, x: number, y: number): number {
  const y0 = (mark.from - w.top) * w.scale;
  const y1 = (mark.to - w.top) * w.scale;
  const lane = frame.lanes[mark.lane];
  switch (mark.kind) {
    case 'arrow': {
      const a = arrowLine(scene.repetition.layout.arrows[mark.ref]!, scene, frame, w);
      return toLine(x, y, a.x0, a.y0, a.x1, a.y1);
    }
    case 'call': {
      const b = callBox(mark, frame, w);
      return toBox(x, y, b.x, b.y, b.w, b.h);
    }
    case 'span': {
      const b = spanBox(mark, frame, w);
      return toBox(x, y, b.x, b.y, b.w, b.h);
    }
    case 'fold':
      return toBox(x, y, frame.time - 6, y0, frame.width - frame.time, y1 - y0);
    case 'note':
      return Math.max(0, Math.hypot(x - frame.note - mark.column * noteStep, y - y0) - 8);
    case 'band':
      return lane === undefined ? Infinity : toBox(x, y, lane.side < 0 ? lane.x - lane.end : lane.x, y0, lane.end, y1 - y0);
    case 'state': {
      if (lane === undefined) {
        return Infinity;
      }
      const from = lane.x + lane.side * lane.stateText;
      const to = lane.x + lane.side * lane.end;
      return toBox(x, y, Math.min(from, to), y0 - 8, Math.abs(to - from), 16);
    }
    default:
      return lane === undefined ? Infinity : Math.max(0, Math.hypot(x - lane.x, y - y0) - 4);
  }
}

function toBox(x: number, y: number, left: number, top: number, w: number, h: number): number {
  const dx = Math.max(left - x, 0, x - (left + w));
  const dy = Math.max(top - y, 0, y - (top + h));
  return Math.hypot(dx, dy);
}

function toLine(x: number, y: number, x0: number, y0: number, x1: number, y1: number): number {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / length));
  return Math.hypot(x - x0 - t * dx, y - y0 - t * dy);
}

