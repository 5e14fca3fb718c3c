/** The picture of a part of a ladder. */
import type { Arrow } from '../data';
import { drawArrow } from './draw_arrow';
import { drawDrop, drawExceptions, drawFold, drawNote, drawSentence } from './draw_beside';
import { drawCall } from './draw_call';
import { drawBand, drawSpan, drawState } from './draw_state';
import { drawTimes } from './draw_time';
import type { Frame } from './frame';
import { marksIn, type Window } from './geometry';
import type { Mark, Scene } from './scene';
import { type Shape, Sketch, type Times } from './sketch';

/** Above so many marks, each is drawn as a line or a bar alone. */
export const mostDetailed = 3000;

/** Draws a part of the scene; in bare lines and bars if that is wanted, or if it has too many marks. */
export function drawWindow(scene: Scene, frame: Frame, w: Window, times: Times, bare = false): Shape[] {
  const found = marksIn(scene, w);
  const d = new Sketch(scene, frame, w, times, bare || found.length > mostDetailed, found.length > mostDetailed);
  drawLines(d);
  for (const kind of ['band', 'fold', 'span', 'call', 'arrow', 'state', 'drop', 'sentence', 'note'] as const) {
    const own = found.map((i) => scene.marks[i]!).filter((m) => m.kind === kind);
    // What went wrong is told first, while there is room for it.
    const wrong = kind === 'arrow' ? own.filter((m) => wentWrong(scene.repetition.layout.arrows[m.ref]!)) : [];
    for (const mark of wrong) {
      drawMark(d, mark);
    }
    for (const mark of own) {
      if (wrong.length === 0 || !wentWrong(scene.repetition.layout.arrows[mark.ref]!)) {
        drawMark(d, mark);
      }
    }
  }
  if (!bare) {
    drawTimes(d);
    drawExceptions(d);
  }
  return d.finish();
}

function wentWrong(a: Arrow): boolean {
  return a.lost || a.dropped || a.reset || a.impossible;
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
