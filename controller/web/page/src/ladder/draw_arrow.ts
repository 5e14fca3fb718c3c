/** Draws packets on their way, with what is not known of the time they took. */
import type { Arrow } from '../data';
import { plusMinus, span } from '../time';
import { type ArrowLine, arrowLine, unit } from './geometry';
import { clipLine, fitWords } from './pack';
import type { Mark } from './scene';
import type { Sketch } from './sketch';
import { packetKind, packetSorts } from './style';

export function drawArrow(d: Sketch, mark: Mark): void {
  const a = d.r.layout.arrows[mark.ref]!;
  const kind = packetKind(a.words, a.reset);
  const line = arrowLine(a, d.s, d.f, d.w);
  if (d.again(16 + packetSorts.indexOf(kind) + (line.came ? 0 : 8), line.x0, line.y0, line.y1)) {
    return;
  }
  if (a.from === a.to && line.left && line.came) {
    drawLoop(d, a, line, kind);
    return;
  }
  const seen = line.left && line.came;
  const style = a.impossible ? 'arrow-impossible' : `arrow-${kind}${!seen && !a.lost && !a.dropped ? '-unseen' : a.copy > 0 ? '-again' : ''}`;
  if (!d.dense && seen && a.delayed && !a.impossible) {
    drawWedge(d, a, line, kind);
  }
  const clipped = clipLine(line.x0, line.y0, line.x1, line.y1, -60, d.w.height + 60);
  if (clipped === null) {
    return;
  }
  if (d.dense) {
    d.line(clipped, !d.pale || a.impossible || a.lost || a.dropped || kind === 'rst' ? style : `arrow-${kind}-dense`);
    return;
  }
  d.line(clipped, style);
  drawEnds(d, a, line, kind);
  labelArrow(d, a, clipped, line, kind);
}

/** A packet from a host to itself. */
function drawLoop(d: Sketch, a: Arrow, line: ArrowLine, kind: string): void {
  const l = d.f.lanes[a.from]!;
  const out = l.x - l.side * 46;
  const [y0, y1] = [Math.max(line.y0, -60), Math.min(line.y1, d.w.height + 60)];
  d.line([l.x, y0, out, y0, out, y1, l.x, y1], `arrow-${kind}${a.copy > 0 ? '-again' : ''}`);
  if (d.dense) {
    return;
  }
  d.head(out, y1, l.x, y1, a.delayed && a.delayErr > a.delay ? `head-${kind}-open` : `head-${kind}`);
  const room = d.characters(240, 'callText');
  d.text(out - l.side * 6, (y0 + y1) / 2 + 4, fitWords(a.words, room), l.side < 0 ? 'start' : 'end', `label-${kind}`);
}

/** What is not known of the time on the way: at the far end as wide as ±ε. */
function drawWedge(d: Sketch, a: Arrow, line: ArrowLine, kind: string): void {
  const at = d.r.layout.rows[a.arrival]!.at;
  const places = d.s.places;
  const stay = places.of(at);
  const high = line.y1 + (places.of(at - a.delayErr) - stay) * d.w.scale;
  const low = line.y1 + (places.of(at + a.delayErr) - stay) * d.w.scale;
  if (low - high < 1.5) {
    return;
  }
  const cut = (y: number): number => Math.min(Math.max(y, -4000), d.w.height + 4000);
  d.poly([line.x0, cut(line.y0), line.x1, cut(high), line.x1, cut(low)], `wedge-${kind}`);
}

function drawEnds(d: Sketch, a: Arrow, line: ArrowLine, kind: string): void {
  const { x0, y0, x1, y1 } = line;
  const way = Math.sign(x1 - x0) || 1;
  if (line.left) {
    if (a.words[0]?.includes('PSH')) {
      d.poly([x0, y0 - 4, x0 + 4, y0, x0, y0 + 4, x0 - 4, y0], `head-${kind}`);
    } else {
      d.circle(x0, y0, 2.75, `head-${kind}`);
    }
  } else {
    d.text(x0 - way * 4, y0 + 4, '?', way > 0 ? 'end' : 'start', `label-${kind}`);
  }
  if (line.came) {
    const open = a.ambiguous || (a.delayed && a.delayErr > a.delay);
    d.head(x0, y0, x1, y1, a.impossible ? 'head-impossible' : open ? `head-${kind}-open` : `head-${kind}`);
    if (kind === 'rst') {
      const [ux, uy] = unit(x0, y0, x1, y1);
      d.line([x1 - ux * 13 + uy * 6, y1 - uy * 13 - ux * 6, x1 - ux * 13 - uy * 6, y1 - uy * 13 + ux * 6], 'arrow-rst');
    }
    return;
  }
  if (a.lost || a.dropped) {
    d.line([x1 - 5, y1 - 5, x1 + 5, y1 + 5], 'lost');
    d.line([x1 - 5, y1 + 5, x1 + 5, y1 - 5], 'lost');
    const word = a.dropped && !a.lost ? 'dropped' : 'lost';
    if (!d.text(x1 + way * 10, y1 + 4, word, way > 0 ? 'start' : 'end', 'lostText')) {
      d.text(x1, y1 + 17, word, 'middle', 'lostText');
    }
  } else {
    d.text(x1 + way * 5, y1 + 4, '? not seen there', way > 0 ? 'start' : 'end', `label-${kind}`);
  }
}

function labelArrow(d: Sketch, a: Arrow, clipped: readonly number[], line: ArrowLine, kind: string): void {
  const [cx0, cy0, cx1, cy1] = clipped as [number, number, number, number];
  const width = Math.abs(cx1 - cx0);
  const style = `label-${kind}`;
  const steep = Math.abs(cy1 - cy0) > 0.12 * width;
  const right = line.x1 >= line.x0;
  const down = cy1 >= cy0;
  let words = a.words;
  if (a.impossible) {
    words = ['! impossible:', ...words];
  }
  if (a.ambiguous) {
    words = [...words, '(likeliest pair)'];
  }
  const text = words.join(' ');
  const delay = a.delayed ? `${span(a.delay)}${a.delayErr > 0 ? ` ${plusMinus(a.delayErr)}` : ''}` : '';
  const along = line.left && line.came ? [0.5, 0.36, 0.64, 0.24, 0.76] : [0.5];
  if (!steep) {
    const room = d.characters(line.came && line.left ? width * 0.72 : width - 16, style);
    const fitted = fitWords(words, Math.max(room, words[0]?.length ?? 0));
    for (const t of along) {
      const [x, y] = [cx0 + (cx1 - cx0) * t, cy0 + (cy1 - cy0) * t];
      if (d.text(x, y - 5, fitted, 'middle', style)) {
        d.text(x, y + 13, delay, 'middle', 'delay');
        return;
      }
    }
    return;
  }
  // Beside a steep line, on its upper side, and between the two hosts. A place where all
  // words have room is better than one where only some have.
  const side = right === down ? 1 : -1;
  const anchor = side > 0 ? 'start' : 'end';
  const [low, high] = [Math.min(line.x0, line.x1) + 6, Math.max(line.x0, line.x1) - 6];
  for (const all of [true, false]) {
    for (const t of along) {
      const [x, y] = [cx0 + (cx1 - cx0) * t, cy0 + (cy1 - cy0) * t];
      const room = d.characters(side > 0 ? high - x - 8 : x - 8 - low, style);
      const fitted = fitWords(words, room);
      if (fitted === '' || (all && fitted !== text) || !d.text(x + side * 8, y - 3, fitted, anchor, style)) {
        continue;
      }
      if (delay.length * d.characterOf('delay') < (side > 0 ? x - 8 - low : high - x - 8)) {
        d.text(x - side * 8, y + 11, delay, side > 0 ? 'end' : 'start', 'delay');
      }
      return;
    }
  }
}
