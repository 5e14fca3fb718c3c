/** Draws calls: a bar from entry to return, and in words what was called and what it gave. */
import type { Bracket } from '../data';
import { span } from '../time';
import { callBox } from './geometry';
import { fitText } from './pack';
import type { Mark } from './scene';
import type { Sketch } from './sketch';

export function drawCall(d: Sketch, mark: Mark): void {
  const b = d.r.layout.brackets[mark.ref]!;
  const box = callBox(mark, d.f, d.w);
  if (d.again(10 + (b.failed ? 2 : b.blocked ? 1 : 0), box.x, box.y, box.y + box.h)) {
    return;
  }
  const style = b.failed ? 'callFailed' : b.lab ? 'callLab' : 'call';
  if (b.blocked && !b.failed && mark.to > mark.from) {
    // Hollow while it waits, filled once it was released.
    const released = isRelease(d, b);
    const release = released ? d.y(d.s.rows[b.releasedAt]!) : box.y + box.h;
    const until = Math.min(Math.max(release, box.y), box.y + box.h);
    d.rect(box.x, box.y, box.w, box.h, 'callBlocked');
    if (box.y + box.h - until > 0.5) {
      d.rect(box.x, until, box.w, box.y + box.h - until, style);
    }
    if (released && !d.dense) {
      d.line([box.x - 2, until, box.x + box.w + 2, until], 'release');
    }
  } else {
    d.rect(box.x, box.y, box.w, box.h, style);
  }
  if (!d.dense) {
    labelCall(d, b, box);
  }
}

/**
 * Reports whether there is a row at which a call was released. What a timer ran from, as the
 * last transmission of its own host, is not that: the call was blocked until the timer ended.
 */
function isRelease(d: Sketch, b: Bracket): boolean {
  if (b.releasedAt < 0 || Number.isNaN(d.s.rows[b.releasedAt]!)) {
    return false;
  }
  const row = d.r.layout.rows[b.releasedAt]!;
  return !(row.lane === b.lane && row.arrow >= 0 && d.r.layout.arrows[row.arrow]!.departure === b.releasedAt);
}

function labelCall(d: Sketch, b: Bracket, box: { x: number; y: number; h: number }): void {
  const l = d.f.lanes[b.lane]!;
  const x = l.x + l.side * l.callText;
  const anchor = l.side < 0 ? 'end' : 'start';
  const style = b.lab ? 'callLabText' : 'callText';
  const room = d.characters(l.callTextWidth, style);
  const result = b.result === '' ? (b.to < 0 ? 'never returned' : '') : b.result;
  const took = b.calls > 1 ? '' : span(b.took);
  if (box.h < 26) {
    const one = b.result === '' || room < 18 ? b.call : `${b.call} = ${result}`;
    d.text(x, box.y + Math.min(box.h, 12) / 2 + 4, fitText(one, room), anchor, b.failed ? 'callBad' : style);
    return;
  }
  d.text(x, box.y + 10, fitText(b.call, room), anchor, style);
  const end = box.y + box.h;
  const given = took === '' ? result : `${result} in ${took}`;
  const last = fitText(given.length <= room ? given : result, room);
  if (end > d.w.height + 50) {
    return;
  }
  if (!d.text(x, end + 3, last, anchor, b.failed ? 'callBad' : 'callTook')) {
    d.text(x, end - 8, last, anchor, b.failed ? 'callBad' : 'callTook');
  }
  if (b.remark !== '' && box.h > 46) {
    d.text(x, end - 11, fitText(b.remark, room), anchor, 'callTook');
  }
}
