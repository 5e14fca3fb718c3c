/** Draws folds, drops, sentences, notes, and the brackets of what did not pass. */
import type { Repetition, Verdict } from '../data';
import { span } from '../time';
import { noteStep } from './frame';
import { fitText, fitWords } from './pack';
import type { Mark } from './scene';
import type { Sketch } from './sketch';

/** Draws a fold: a strip across all lines, and a break in each; an opened one has its edges only. */
export function drawFold(d: Sketch, mark: Mark): void {
  const [y0, y1] = [d.y(mark.from), d.y(mark.to)];
  if (y1 - y0 < 3 || d.again(1, 0, y0, y1)) {
    return;
  }
  const open = d.s.options.open.has(mark.ref);
  const left = d.f.time - 6;
  const right = d.f.width - 4;
  const pad = Math.min(4, (y1 - y0) * 0.1);
  if (!open) {
    d.rect(left, y0 + pad, right - left, y1 - y0 - 2 * pad, 'fold');
  }
  d.line([left, y0 + pad, right, y0 + pad], 'foldEdge');
  d.line([left, y1 - pad, right, y1 - pad], 'foldEdge');
  if (d.dense) {
    return;
  }
  const middle = (y0 + y1) / 2;
  for (const l of open ? [] : d.f.lanes) {
    d.poly([l.x - 5, middle + 4, l.x + 5, middle - 1, l.x + 5, middle - 4, l.x - 5, middle + 1], 'fold');
    d.line([l.x - 6, middle + 5, l.x + 6, middle - 1], 'wire');
    d.line([l.x - 6, middle + 1, l.x + 6, middle - 5], 'wire');
  }
  const { knots } = d.s.places;
  const length = span(knots[mark.ref + 1]!.at - knots[mark.ref]!.at);
  const y = Math.min(Math.max(middle, 12), d.w.height - 8) + 4;
  d.text(middleOf(d), y, open ? `▴ ${length} quiet, fold` : `⋮ ${length} quiet`, 'middle', 'foldText');
}

/** The middle of the room between the lanes. */
function middleOf(d: Sketch): number {
  const { lanes } = d.f;
  if (lanes.length < 2) {
    return d.f.width / 2;
  }
  const first = lanes[0]!;
  const second = lanes[1]!;
  return (first.x + second.x) / 2;
}

export function drawDrop(d: Sketch, mark: Mark): void {
  const drop = d.r.layout.drops[mark.ref]!;
  const l = d.f.lanes[mark.lane]!;
  const y = d.y(mark.from);
  if (d.again(40, l.x, y, y)) {
    return;
  }
  d.line([l.x - 5, y - 5, l.x + 5, y + 5], 'drop');
  d.line([l.x - 5, y + 5, l.x + 5, y - 5], 'drop');
  if (!d.dense) {
    const text = ['dropped:', drop.reason, ...(drop.arrow < 0 ? drop.words : [])].filter((s) => s !== '');
    d.text(l.x - l.side * 10, y + 4, fitWords(text, 60), l.side < 0 ? 'start' : 'end', 'dropText');
  }
}

export function drawSentence(d: Sketch, mark: Mark): void {
  const row = d.r.layout.rows[mark.ref]!;
  const y = d.y(mark.from);
  const l = d.f.lanes[mark.lane];
  if (d.again(41, l?.x ?? 0, y, y)) {
    return;
  }
  if (l !== undefined) {
    d.poly([l.x, y - 4, l.x + 4, y, l.x, y + 4, l.x - 4, y], 'sentenceMark');
  }
  if (d.dense) {
    return;
  }
  const { lanes } = d.f;
  const style = row.kind === 'loss' ? 'loss' : 'sentence';
  if (l !== undefined && lanes.length > 1) {
    const far = l.side < 0 ? lanes[lanes.length - 1]! : lanes[0]!;
    const beyond = hasCall(d, lanes.indexOf(far), mark.from) ? 0 : far.bands;
    const room = d.characters(Math.abs(far.x - l.x) - 24 + beyond, style);
    d.text(l.x - l.side * 12, y + 4, fitText(row.text, room), l.side < 0 ? 'start' : 'end', style);
  } else {
    d.text((l?.x ?? d.f.time) + 12, y + 4, fitText(row.text, 100), 'start', style);
  }
}

/** Reports whether a call of a lane is drawn at a place. */
function hasCall(d: Sketch, lane: number, place: number): boolean {
  const room = 8 / d.w.scale;
  return d.s.index.touching(place - room, place + room).some((i) => d.s.marks[i]!.kind === 'call' && d.s.marks[i]!.lane === lane);
}

export function drawNote(d: Sketch, mark: Mark): void {
  const y = d.y(mark.from);
  const x = d.f.note + mark.column * noteStep;
  if (d.again(42, x, y, y)) {
    return;
  }
  const text = String(mark.ref + 1);
  d.circle(x, y, 8.5, 'note');
  if (!d.dense) {
    d.texts.push({ t: 'text', x, y: y + 3.5, text, anchor: 'middle', style: 'noteText', dim: false });
  }
}

/** A bracket from the first to the last moment of what did not pass, the worst first. */
export function drawExceptions(d: Sketch): void {
  let x = d.f.time - 1;
  for (const v of exceptionsOf(d.r)) {
    const at = v.moments.map((m) => d.s.rows[d.r.moments[m]?.row ?? -1] ?? NaN).filter((p) => !Number.isNaN(p));
    if (at.length === 0) {
      continue;
    }
    const [y0, y1] = [Math.max(-20, d.y(Math.min(...at))), Math.min(d.w.height + 20, d.y(Math.max(...at)))];
    if (y1 >= y0) {
      d.line([x + 4, y0, x, y0, x, Math.max(y1, y0 + 2), x + 4, Math.max(y1, y0 + 2)], v.ruling === 'fail' ? 'exception' : 'exceptionUnsure');
      x -= 5;
    }
  }
}

/** What is bracketed: at most two that failed, or that could not be told if none failed. */
export function exceptionsOf(r: Repetition): Verdict[] {
  const of = (ruling: Verdict['ruling']): Verdict[] => r.verdicts.filter((v) => v.ruling === ruling && v.moments.length > 0);
  const failed = of('fail');
  return (failed.length > 0 ? failed : of('cannot tell')).slice(0, 2);
}
