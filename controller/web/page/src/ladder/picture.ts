/** The picture of a part of a ladder. */
import type { Arrow } from '../data';
import { drawArrow } from './draw_arrow';
import { drawDrop, drawExceptions, drawFold, drawNote, drawSentence } from './draw_beside';
import { drawCall } from './draw_call';
import { drawBand, drawSpan, drawState } from './draw_state';
import { drawTimes } from './draw_time';
import type { Frame } from './frame';
import { marksIn, type Window } from './geometry';
import type { Mark, MarkKind, Scene } from './scene';
import { type Shape, Sketch, type Times } from './sketch';
import { packetKind } from './style';

/** Above so many marks, each is drawn as a line or a bar alone. */
export const mostDetailed = 3000;

/** Draws a part of the scene; in bare lines and bars if that is wanted, or if it has too many marks. */
export function drawWindow(scene: Scene, frame: Frame, w: Window, times: Times, bare = false): Shape[] {
  const found = marksIn(scene, w);
  const d = new Sketch(scene, frame, w, times, bare || found.length > mostDetailed, found.length > mostDetailed);
  drawLines(d);
  for (const layer of layersOf(scene, found)) {
    for (const mark of layer) {
      drawMark(d, mark);
    }
  }
  if (!bare) {
    drawTimes(d);
    drawExceptions(d);
  }
  return d.finish();
}

/** Kinds in the order in which they are drawn, one over the other. */
const layers = ['band', 'fold', 'span', 'call', 'arrow', 'state', 'drop', 'sentence', 'note'] as const;

/** The marks that were found by what lies over what; of arrows, what counts most is told first, while there is room for it. */
function layersOf(scene: Scene, found: readonly number[]): Mark[][] {
  const byKind = new Map<MarkKind, Mark[]>(layers.map((kind) => [kind, []]));
  const arrows: Mark[][] = [[], [], [], []];
  for (const i of found) {
    const mark = scene.marks[i]!;
    const list = mark.kind === 'arrow' ? arrows[rankOf(scene.repetition.layout.arrows[mark.ref]!)] : byKind.get(mark.kind);
    list!.push(mark);
  }
  return layers.flatMap((kind) => (kind === 'arrow' ? arrows : [byKind.get(kind)!]));
}

/** What went wrong, then what opens and closes, then data, then the rest. */
function rankOf(a: Arrow): number {
  if (a.lost || a.dropped || a.reset || a.impossible) {
    return 0;
  }
  switch (packetKind(a.words, a.reset)) {
    case 'syn':
    case 'fin':
      return 1;
    case 'data':
      return 2;
  }
  return 3;
}

function drawLines(d: Sketch): void {
  for (const l of d.f.lanes) {
    d.line([l.x, Math.max(0, d.y(0) - 10), l.x, Math.min(d.w.height, d.y(d.s.length) + 10)], 'wire');
  }
}

function drawMark(d: Sketch, mark: Mark): void {
  d.dim = mark.dim;
  switch (mark.kind) {
    case 'band':
      drawBand(d, mark);
      break;
    case 'fold':
      drawFold(d, mark);
      break;
    case 'span':
      drawSpan(d, mark);
      break;
    case 'call':
      drawCall(d, mark);
      break;
    case 'arrow':
      drawArrow(d, mark);
      break;
    case 'state':
      drawState(d, mark);
      break;
    case 'drop':
      drawDrop(d, mark);
      break;
    case 'sentence':
      drawSentence(d, mark);
      break;
    case 'note':
      drawNote(d, mark);
      break;
  }
  d.dim = false;
}
