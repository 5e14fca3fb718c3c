/** Draws the states of the ends, and where the record of a host has a hole. */
import { bandStep, bandWidth } from './frame';
import { spanBox } from './geometry';
import { fitText } from './pack';
import type { Mark } from './scene';
import type { Sketch } from './sketch';
import { stateKind, stateSorts } from './style';

export function drawSpan(d: Sketch, mark: Mark): void {
  const s = d.r.layout.spans[mark.ref]!;
  const box = spanBox(mark, d.f, d.w);
  if (d.again(2 + stateSorts.indexOf(stateKind(s.name)), box.x, box.y, box.y + box.h)) {
    return;
  }
  d.rect(box.x, box.y, box.w, box.h, `span-${stateKind(s.name)}${s.known === 'traced' && !s.doubtful ? '' : '-guess'}`);
}

export function drawState(d: Sketch, mark: Mark): void {
  const s = d.r.layout.states[mark.ref]!;
  if (d.dense) {
    return;
  }
  const l = d.f.lanes[mark.lane]!;
  const y = d.y(mark.from);
  const at = l.x + l.side * l.stateText;
  const anchor = l.side < 0 ? 'end' : 'start';
  const room = d.characters(l.stateTextWidth, 'stateText');
  if (s.doubt !== '') {
    d.text(at, y + 4, fitText('? in doubt', room), anchor, 'doubt');
    return;
  }
  if (s.exact) {
    d.circle(l.x + l.side * (l.bands + mark.column * bandStep + bandWidth / 2), y, 2.5, 'stateDot');
  }
  d.text(at, y + 4, fitText((s.hole ? '…' : '') + s.name, room), anchor, s.exact ? 'stateText' : 'stateGuess');
}

export function drawBand(d: Sketch, mark: Mark): void {
  const l = d.f.lanes[mark.lane]!;
  const y0 = d.y(mark.from);
  const h = Math.max(4, d.y(mark.to) - y0);
  const x = l.side < 0 ? l.x - l.end : l.x - 4;
  d.rect(x, y0, l.end + 4, h, 'band');
  if (!d.dense) {
    const b = d.r.layout.bands[mark.ref]!;
    const what = b.count > 0 ? `${b.count.toLocaleString('en')} ${b.source} missing` : 'not on record';
    d.text(l.x + l.side * (l.end / 2), Math.max(14, y0 + 14), what, 'middle', 'loss');
  }
}
