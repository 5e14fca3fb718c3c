/**
 * The picture of a part of a ladder as plain shapes in pixels. SVG and canvas both draw
 * these, and pointing finds marks by the same geometry.
 */
import type { Arrow, Bracket, Moment, Repetition, Row, Verdict } from '../data';
import { localTime } from '../data';
import { fixed, fixedError, groupedNanoseconds, plusMinus, span, unitName } from '../time';
import { bandStep, bandWidth, callStep, callWidth, type Frame, type LaneFrame, mostCalls } from './frame';
import { clipLine, fitText, fitWords, Placed } from './pack';
import { evenRuns, first, tickStep } from './place';
import type { Mark, Scene } from './scene';
import { packetKind, packetSorts, stateKind, stateSorts, styleOf } from './style';

export interface Line { t: 'line'; points: number[]; style: string; dim: boolean }
export interface Poly { t: 'poly'; points: number[]; style: string; dim: boolean }
export interface Rect { t: 'rect'; x: number; y: number; w: number; h: number; style: string; dim: boolean }
export interface Circle { t: 'circle'; x: number; y: number; r: number; style: string; dim: boolean }
export interface Text { t: 'text'; x: number; y: number; text: string; anchor: 'start' | 'middle' | 'end'; style: string; dim: boolean }
export type Shape = Line | Poly | Rect | Circle | Text;

/** The part of the ladder that is drawn: y is (place − top) · scale. */
export interface Window {
  /** Place of the upper edge. */
  top: number;
  /** Pixels for a place. */
  scale: number;
  height: number;
}

/** How times are shown. */
export interface Times {
  raw: boolean;
  /** The moment that counts as 0; null for the timeline's own zero. */
  origin: Moment | null;
}

/** Above so many marks, each is drawn as a line or a bar alone. */
export const mostDetailed = 3000;

/** Marks of a window, with some room for what sticks out of their places. */
export function marksIn(scene: Scene, w: Window): number[] {
  const room = 40 / w.scale;
  return scene.index.touching(w.top - room, w.top + w.height / w.scale + room);
}

/** What an arrow is in pixels: its ends, and whether each was seen. */
export interface ArrowLine {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
  left: boolean;
  came: boolean;
}

/** Where an arrow is. One of which an end was not seen is drawn part of its way. */
export function arrowLine(a: Arrow, scene: Scene, frame: Frame, w: Window): ArrowLine {
  const lanes = frame.lanes;
  const [from, to] = [lanes[a.from], lanes[a.to]];
  const y = (row: number): number => (scene.rows[row]! - w.top) * w.scale;
  const left = a.departure >= 0 && !Number.isNaN(scene.rows[a.departure]!);
  const came = a.arrival >= 0 && !Number.isNaN(scene.rows[a.arrival]!);
  const own = from ?? to;
  const x0 = from?.x ?? own!.x;
  // To a host that is none of the run, or back to the same one, it goes a little way.
  const aside = (l: LaneFrame): number => l.x - l.side * Math.min(140, innerRoom(frame, l));
  let x1 = to === undefined || to === from ? aside(own!) : to.x;
  let begin = from === undefined ? aside(own!) : x0;
  if (from === undefined) {
    x1 = to!.x;
  }
  if (to === from && left && came) {
    return { x0, y0: y(a.departure), x1: x0, y1: y(a.arrival), left, came };
  }
  const y0 = left ? y(a.departure) : y(a.arrival) - 12;
  const y1 = came ? y(a.arrival) : y(a.departure) + 12;
  if (left && !came) {
    x1 = begin + (x1 - begin) * (to === undefined ? 1 : 0.55);
  } else if (!left && came) {
    begin = x1 + (begin - x1) * (from === undefined ? 1 : 0.45);
  }
  return { x0: begin, y0, x1, y1, left, came };
}

function innerRoom(frame: Frame, l: LaneFrame): number {
  const others = frame.lanes.filter((o) => o !== l).map((o) => Math.abs(o.x - l.x));
  return Math.max(40, (others.length > 0 ? Math.min(...others) : frame.width - l.x) * 0.6);
}

/** The box of a call's bar. */
export function callBox(mark: Mark, frame: Frame, w: Window): { x: number; y: number; w: number; h: number } {
  const l = frame.lanes[mark.lane]!;
  const inner = 8 + Math.min(mark.column, mostCalls - 1) * callStep;
  const y0 = (mark.from - w.top) * w.scale;
  const h = Math.max(6, (mark.to - mark.from) * w.scale);
  return { x: l.side < 0 ? l.x - inner - callWidth : l.x + inner, y: mark.to > mark.from ? y0 : y0 - 3, w: callWidth, h };
}

/** The box of a state's band. */
export function spanBox(mark: Mark, frame: Frame, w: Window): { x: number; y: number; w: number; h: number } {
  const l = frame.lanes[mark.lane]!;
  const inner = l.bands + mark.column * bandStep;
  return {
    x: l.side < 0 ? l.x - inner - bandWidth : l.x + inner, y: (mark.from - w.top) * w.scale, w: bandWidth,
    h: Math.max(1.5, (mark.to - mark.from) * w.scale),
  };
}

/** Draws a part of the scene; in bare lines and bars if that is wanted, or if it has too many marks. */
export function drawWindow(scene: Scene, frame: Frame, w: Window, times: Times, bare = false): Shape[] {
  const found = marksIn(scene, w);
  const d = new Drawing(scene, frame, w, times, bare || found.length > mostDetailed);
  d.background();
  for (const kind of ['band', 'fold', 'span', 'call', 'arrow', 'state', 'drop', 'sentence', 'note'] as const) {
    const own = found.map((i) => scene.marks[i]!).filter((m) => m.kind === kind);
    // What went wrong is told first, while there is room for it.
    const wrong = kind === 'arrow' ? own.filter((m) => wentWrong(scene.repetition.layout.arrows[m.ref]!)) : [];
    for (const mark of wrong) {
      d.draw(mark);
    }
    for (const mark of own) {
      if (wrong.length === 0 || !wentWrong(scene.repetition.layout.arrows[mark.ref]!)) {
        d.draw(mark);
      }
    }
  }
  if (!bare) {
    d.timeColumn();
    d.exceptions();
  }
  return d.finish();
}

/** What is bracketed: at most two that failed, or that could not be told if none failed. */
export function exceptionsOf(r: Repetition): Verdict[] {
  const of = (ruling: Verdict['ruling']): Verdict[] => r.verdicts.filter((v) => v.ruling === ruling && v.moments.length > 0);
  const failed = of('fail');
  return (failed.length > 0 ? failed : of('cannot tell')).slice(0, 2);
}

function wentWrong(a: Arrow): boolean {
  return a.lost || a.dropped || a.reset || a.impossible;
}

/** What is drawn above the picture for what is chosen: selected, pinned, pointed at. */
export function drawChoice(
  scene: Scene, frame: Frame, w: Window,
  chosen: { selected: number | null; pinned: number | null; mark: number | null; active: number; hovered: number },
): Shape[] {
  const d = new Drawing(scene, frame, w, { raw: false, origin: null }, false);
  for (const [moment, style, text] of [[chosen.selected, 'selectLine', ''], [chosen.pinned, 'pinLine', ''], [chosen.mark, 'mark', 'measured from here']] as const) {
    if (moment !== null) {
      d.hairline(moment, style, text);
    }
  }
  if (chosen.selected !== null) {
    d.causes(chosen.selected);
    for (const i of scene.ofMoment.get(chosen.selected) ?? []) {
      d.outline(scene.marks[i]!, 'select', 'selectBox');
    }
  }
  if (chosen.hovered >= 0) {
    d.outline(scene.marks[chosen.hovered]!, 'hover', 'selectBox');
  }
  if (chosen.active >= 0) {
    d.outline(scene.marks[chosen.active]!, 'focus', 'focus');
  }
  return d.finish();
}

class Drawing {
  private readonly s: Scene;
  private readonly f: Frame;
  private readonly w: Window;
  private readonly times: Times;
  /** Too many for texts and heads. */
  private readonly dense: boolean;
  private readonly r: Repetition;
  private readonly shapes: Shape[] = [];
  private readonly texts: Shape[] = [];
  private readonly placed = new Placed();
  /** What a dense picture has drawn already, pixel for pixel. */
  private readonly seen = new Set<number>();
  private dim = false;

  constructor(scene: Scene, frame: Frame, w: Window, times: Times, dense: boolean) {
    this.s = scene;
    this.f = frame;
    this.w = w;
    this.times = times;
    this.dense = dense;
    this.r = scene.repetition;
  }

  finish(): Shape[] {
    return [...this.shapes, ...this.texts];
  }

  private y(place: number): number {
    return (place - this.w.top) * this.w.scale;
  }

  /** Reports whether any of the points is near the window. Browsers draw with 32 bits. */
  private near(points: readonly number[]): boolean {
    let [low, high] = [Infinity, -Infinity];
    for (let i = 1; i < points.length; i += 2) {
      low = Math.min(low, points[i]!);
      high = Math.max(high, points[i]!);
    }
    return high >= -100 && low <= this.w.height + 100;
  }

  private line(points: number[], style: string): void {
    if (!this.near(points)) {
      return;
    }
    this.shapes.push({ t: 'line', points, style, dim: this.dim });
  }

  private poly(points: number[], style: string): void {
    if (!this.near(points)) {
      return;
    }
    this.shapes.push({ t: 'poly', points, style, dim: this.dim });
  }

  private rect(x: number, y: number, w: number, h: number, style: string): void {
    // What is far outside is cut.
    const top = Math.max(y, -50);
    const bottom = Math.min(y + h, this.w.height + 50);
    if (bottom >= top) {
      this.shapes.push({ t: 'rect', x, y: top, w, h: bottom - top, style, dim: this.dim });
    }
  }

  private circle(x: number, y: number, r: number, style: string): void {
    if (!this.near([x, y])) {
      return;
    }
    this.shapes.push({ t: 'circle', x, y, r, style, dim: this.dim });
  }

  private characters(pixels: number, style: string): number {
    return Math.floor(pixels / this.characterOf(style));
  }

  private characterOf(style: string): number {
    return (this.f.character * (styleOf(style).size ?? 12)) / 12;
  }

  /** Puts a text where there is room for it, and reports whether there was. */
  private text(x: number, y: number, text: string, anchor: Text['anchor'], style: string): boolean {
    if (text === '' || y < -20 || y > this.w.height + 20) {
      return false;
    }
    const size = styleOf(style).size ?? 12;
    const width = text.length * this.characterOf(style);
    const left = anchor === 'start' ? x : anchor === 'end' ? x - width : x - width / 2;
    if (!this.placed.take({ x: left - 2, y: y - size * 0.82, w: width + 4, h: size * 1.02 })) {
      return false;
    }
    this.texts.push({ t: 'text', x, y, text, anchor, style, dim: this.dim });
    return true;
  }

  background(): void {
    for (const l of this.f.lanes) {
      this.line([l.x, Math.max(0, this.y(0) - 10), l.x, Math.min(this.w.height, this.y(this.s.length) + 10)], 'wire');
    }
  }

  draw(mark: Mark): void {
    this.dim = mark.dim;
    switch (mark.kind) {
      case 'band':
        this.band(mark);
        break;
      case 'fold':
        this.fold(mark);
        break;
      case 'span':
        this.span(mark);
        break;
      case 'call':
        this.call(mark);
        break;
      case 'arrow':
        this.arrow(mark);
        break;
      case 'state':
        this.state(mark);
        break;
      case 'drop':
        this.drop(mark);
        break;
      case 'sentence':
        this.sentence(mark);
        break;
      case 'note':
        this.note(mark);
        break;
    }
    this.dim = false;
  }

  /**
   * Reports whether a dense picture has this very thing already: of the same sort, at the
   * same pixels.
   */
  private again(sort: number, x: number, y0: number, y1: number): boolean {
    if (!this.dense) {
      return false;
    }
    // 13 bits for each height, some pixels beyond the window included, 13 for x, 8 for the sort.
    const high = (y: number): number => Math.min(8191, Math.max(0, Math.round(y) + 256));
    const key = ((sort * 8192 + high(x)) * 8192 + high(y0)) * 8192 + high(y1);
    if (this.seen.has(key)) {
      return true;
    }
    this.seen.add(key);
    return false;
  }

  private band(mark: Mark): void {
    const l = this.f.lanes[mark.lane]!;
    const y0 = this.y(mark.from);
    const h = Math.max(4, this.y(mark.to) - y0);
    const x = l.side < 0 ? l.x - l.end : l.x - 4;
    this.rect(x, y0, l.end + 4, h, 'band');
    if (!this.dense) {
      const b = this.r.layout.bands[mark.ref]!;
      const what = b.count > 0 ? `${b.count.toLocaleString('en')} ${b.source} missing` : 'not on record';
      this.text(l.x + l.side * (l.end / 2), Math.max(14, y0 + 14), what, 'middle', 'loss');
    }
  }

  private fold(mark: Mark): void {
    const [y0, y1] = [this.y(mark.from), this.y(mark.to)];
    if (y1 - y0 < 3 || this.again(1, 0, y0, y1)) {
      return;
    }
    const left = this.f.time - 6;
    const pad = Math.min(4, (y1 - y0) * 0.1);
    this.rect(left, y0 + pad, this.f.width - left - 4, y1 - y0 - 2 * pad, 'fold');
    this.line([left, y0 + pad, this.f.width - 4, y0 + pad], 'foldEdge');
    this.line([left, y1 - pad, this.f.width - 4, y1 - pad], 'foldEdge');
    if (this.dense) {
      return;
    }
    // The break in each line.
    for (const l of this.f.lanes) {
      const m = (y0 + y1) / 2;
      this.poly([l.x - 5, m + 4, l.x + 5, m - 1, l.x + 5, m - 4, l.x - 5, m + 1], 'fold');
      this.line([l.x - 6, m + 5, l.x + 6, m - 1], 'wire');
      this.line([l.x - 6, m + 1, l.x + 6, m - 5], 'wire');
    }
    const k = this.s.places.knots;
    const length = k[mark.ref + 1]!.at - k[mark.ref]!.at;
    const open = this.s.options.open.has(mark.ref);
    const y = Math.min(Math.max((y0 + y1) / 2, 12), this.w.height - 8) + 4;
    this.text(this.middle(), y, open ? `▴ ${span(length)} quiet, fold` : `⋮ ${span(length)} quiet`, 'middle', 'foldText');
  }

  /** The middle of the room between the lanes. */
  private middle(): number {
    const { lanes } = this.f;
    if (lanes.length < 2) {
      return this.f.width / 2;
    }
    const first = lanes[0]!;
    const second = lanes[1]!;
    return (first.x + second.x) / 2;
  }

  private span(mark: Mark): void {
    const s = this.r.layout.spans[mark.ref]!;
    const box = spanBox(mark, this.f, this.w);
    if (s.name === 'CLOSED' || this.again(2 + stateSorts.indexOf(stateKind(s.name)), box.x, box.y, box.y + box.h)) {
      return;
    }
    this.rect(box.x, box.y, box.w, box.h, `span-${stateKind(s.name)}${s.known === 'traced' && !s.doubtful ? '' : '-guess'}`);
  }

  private state(mark: Mark): void {
    const s = this.r.layout.states[mark.ref]!;
    if (this.dense) {
      return;
    }
    const l = this.f.lanes[mark.lane]!;
    const y = this.y(mark.from);
    const at = l.x + l.side * l.stateText;
    const anchor = l.side < 0 ? 'end' : 'start';
    const room = this.characters(l.stateTextWidth, 'stateText');
    if (s.doubt !== '') {
      this.text(at, y + 4, fitText('? in doubt', room), anchor, 'doubt');
      return;
    }
    if (s.exact) {
      this.circle(l.x + l.side * (l.bands + mark.column * bandStep + bandWidth / 2), y, 2.5, 'stateDot');
    }
    this.text(at, y + 4, fitText((s.hole ? '…' : '') + s.name, room), anchor, s.exact ? 'stateText' : 'stateGuess');
  }

  private call(mark: Mark): void {
    const b = this.r.layout.brackets[mark.ref]!;
    const box = callBox(mark, this.f, this.w);
    if (this.again(10 + (b.failed ? 2 : b.blocked ? 1 : 0), box.x, box.y, box.y + box.h)) {
      return;
    }
    const style = b.failed ? 'callFailed' : b.lab ? 'callLab' : 'call';
    if (b.blocked && !b.failed && mark.to > mark.from) {
      // Hollow while it waits, filled once it was released.
      const released = this.isRelease(b);
      const release = released ? this.y(this.s.rows[b.releasedAt]!) : box.y + box.h;
      const until = Math.min(Math.max(release, box.y), box.y + box.h);
      this.rect(box.x, box.y, box.w, box.h, 'callBlocked');
      if (box.y + box.h - until > 0.5) {
        this.rect(box.x, until, box.w, box.y + box.h - until, style);
      }
      if (released && !this.dense) {
        this.line([box.x - 2, until, box.x + box.w + 2, until], 'release');
      }
    } else {
      this.rect(box.x, box.y, box.w, box.h, style);
    }
    if (!this.dense) {
      this.callText(b, box);
    }
  }

  /**
   * Reports whether there is a row at which a call was released. What a timer ran from, as the
   * last transmission of its own host, is not that: the call was blocked until the timer ended.
   */
  private isRelease(b: Bracket): boolean {
    if (b.releasedAt < 0 || Number.isNaN(this.s.rows[b.releasedAt]!)) {
      return false;
    }
    const row = this.r.layout.rows[b.releasedAt]!;
    return !(row.lane === b.lane && row.arrow >= 0 && this.r.layout.arrows[row.arrow]!.departure === b.releasedAt);
  }

  private callText(b: Bracket, box: { x: number; y: number; h: number }): void {
    const l = this.f.lanes[b.lane]!;
    const x = l.x + l.side * l.callText;
    const anchor = l.side < 0 ? 'end' : 'start';
    const style = b.lab ? 'callLabText' : 'callText';
    const room = this.characters(l.callTextWidth, style);
    const result = b.result === '' ? (b.to < 0 ? 'never returned' : '') : b.result;
    const took = b.calls > 1 ? '' : span(b.took);
    if (box.h < 26) {
      const one = b.result === '' || room < 18 ? b.call : `${b.call} = ${result}`;
      this.text(x, box.y + Math.min(box.h, 12) / 2 + 4, fitText(one, room), anchor, b.failed ? 'callBad' : style);
      return;
    }
    this.text(x, box.y + 10, fitText(b.call, room), anchor, style);
    const end = box.y + box.h;
    const given = took === '' ? result : `${result} in ${took}`;
    const last = fitText(given.length <= room ? given : result, room);
    if (end > this.w.height + 50) {
      return;
    }
    if (!this.text(x, end + 3, last, anchor, b.failed ? 'callBad' : 'callTook')) {
      this.text(x, end - 8, last, anchor, b.failed ? 'callBad' : 'callTook');
    }
    if (b.remark !== '' && box.h > 46) {
      this.text(x, end - 11, fitText(b.remark, room), anchor, 'callTook');
    }
  }

  private arrow(mark: Mark): void {
    const a = this.r.layout.arrows[mark.ref]!;
    const kind = packetKind(a.words, a.reset);
    const line = arrowLine(a, this.s, this.f, this.w);
    if (this.again(16 + packetSorts.indexOf(kind) + (line.came ? 0 : 8), line.x0, line.y0, line.y1)) {
      return;
    }
    if (a.from === a.to && line.left && line.came) {
      this.loop(a, line, kind);
      return;
    }
    const seen = line.left && line.came;
    const style = a.impossible ? 'arrow-impossible' : `arrow-${kind}${!seen && !a.lost && !a.dropped ? '-unseen' : a.copy > 0 ? '-again' : ''}`;
    if (!this.dense && seen && a.delayed && !a.impossible) {
      this.wedge(a, line, kind);
    }
    const clipped = clipLine(line.x0, line.y0, line.x1, line.y1, -60, this.w.height + 60);
    if (clipped === null) {
      return;
    }
    this.line(clipped, style);
    if (this.dense) {
      return;
    }
    this.ends(a, line, kind);
    this.arrowLabel(a, clipped, line, kind);
  }

  /** A packet from a host to itself. */
  private loop(a: Arrow, line: ArrowLine, kind: string): void {
    const l = this.f.lanes[a.from]!;
    const out = l.x - l.side * 46;
    const [y0, y1] = [Math.max(line.y0, -60), Math.min(line.y1, this.w.height + 60)];
    this.line([l.x, y0, out, y0, out, y1, l.x, y1], `arrow-${kind}${a.copy > 0 ? '-again' : ''}`);
    if (this.dense) {
      return;
    }
    this.head(out, y1, l.x, y1, a.delayed && a.delayErr > a.delay ? `head-${kind}-open` : `head-${kind}`);
    const room = this.characters(240, 'callText');
    this.text(out - l.side * 6, (y0 + y1) / 2 + 4, fitWords(a.words, room), l.side < 0 ? 'start' : 'end', `label-${kind}`);
  }

  /** What is not known of the time on the way: at the far end as wide as ±ε. */
  private wedge(a: Arrow, line: ArrowLine, kind: string): void {
    const at = this.r.layout.rows[a.arrival]!.at;
    const places = this.s.places;
    const stay = places.of(at);
    const high = line.y1 + (places.of(at - a.delayErr) - stay) * this.w.scale;
    const low = line.y1 + (places.of(at + a.delayErr) - stay) * this.w.scale;
    if (low - high < 1.5) {
      return;
    }
    const cut = (y: number): number => Math.min(Math.max(y, -4000), this.w.height + 4000);
    this.poly([line.x0, cut(line.y0), line.x1, cut(high), line.x1, cut(low)], `wedge-${kind}`);
  }

  private ends(a: Arrow, line: ArrowLine, kind: string): void {
    const { x0, y0, x1, y1 } = line;
    const way = Math.sign(x1 - x0) || 1;
    if (line.left) {
      if (a.words[0]?.includes('PSH')) {
        this.poly([x0, y0 - 4, x0 + 4, y0, x0, y0 + 4, x0 - 4, y0], `head-${kind}`);
      } else {
        this.circle(x0, y0, 2.75, `head-${kind}`);
      }
    } else {
      this.text(x0 - way * 4, y0 + 4, '?', way > 0 ? 'end' : 'start', `label-${kind}`);
    }
    if (line.came) {
      const open = a.ambiguous || (a.delayed && a.delayErr > a.delay);
      this.head(x0, y0, x1, y1, a.impossible ? 'head-impossible' : open ? `head-${kind}-open` : `head-${kind}`);
      if (kind === 'rst') {
        const [ux, uy] = unit(x0, y0, x1, y1);
        this.line([x1 - ux * 13 + uy * 6, y1 - uy * 13 - ux * 6, x1 - ux * 13 - uy * 6, y1 - uy * 13 + ux * 6], 'arrow-rst');
      }
      return;
    }
    if (a.lost || a.dropped) {
      this.line([x1 - 5, y1 - 5, x1 + 5, y1 + 5], 'lost');
      this.line([x1 - 5, y1 + 5, x1 + 5, y1 - 5], 'lost');
      const word = a.dropped && !a.lost ? 'dropped' : 'lost';
      if (!this.text(x1 + way * 10, y1 + 4, word, way > 0 ? 'start' : 'end', 'lostText')) {
        this.text(x1, y1 + 17, word, 'middle', 'lostText');
      }
    } else {
      this.text(x1 + way * 5, y1 + 4, '? not seen there', way > 0 ? 'start' : 'end', `label-${kind}`);
    }
  }

  private head(x0: number, y0: number, x1: number, y1: number, style: string): void {
    const [ux, uy] = unit(x0, y0, x1, y1);
    this.poly([x1, y1, x1 - ux * 10 + uy * 4.5, y1 - uy * 10 - ux * 4.5, x1 - ux * 10 - uy * 4.5, y1 - uy * 10 + ux * 4.5], style);
  }

  private arrowLabel(a: Arrow, clipped: readonly number[], line: ArrowLine, kind: string): void {
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
      const room = this.characters(line.came && line.left ? width * 0.72 : width - 16, style);
      const fitted = fitWords(words, Math.max(room, words[0]?.length ?? 0));
      for (const t of along) {
        const [x, y] = [cx0 + (cx1 - cx0) * t, cy0 + (cy1 - cy0) * t];
        if (this.text(x, y - 5, fitted, 'middle', style)) {
          this.text(x, y + 13, delay, 'middle', 'delay');
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
        const room = this.characters(side > 0 ? high - x - 8 : x - 8 - low, style);
        const fitted = fitWords(words, room);
        if (fitted === '' || (all && fitted !== text) || !this.text(x + side * 8, y - 3, fitted, anchor, style)) {
          continue;
        }
        if (delay.length * this.characterOf('delay') < (side > 0 ? x - 8 - low : high - x - 8)) {
          this.text(x - side * 8, y + 11, delay, side > 0 ? 'end' : 'start', 'delay');
        }
        return;
      }
    }
  }

  private drop(mark: Mark): void {
    const d = this.r.layout.drops[mark.ref]!;
    const l = this.f.lanes[mark.lane]!;
    const y = this.y(mark.from);
    if (this.again(40, l.x, y, y)) {
      return;
    }
    this.line([l.x - 5, y - 5, l.x + 5, y + 5], 'drop');
    this.line([l.x - 5, y + 5, l.x + 5, y - 5], 'drop');
    if (!this.dense) {
      const text = ['dropped:', d.reason, ...(d.arrow < 0 ? d.words : [])].filter((s) => s !== '');
      this.text(l.x - l.side * 10, y + 4, fitWords(text, 60), l.side < 0 ? 'start' : 'end', 'dropText');
    }
  }

  private sentence(mark: Mark): void {
    const row = this.r.layout.rows[mark.ref]!;
    const y = this.y(mark.from);
    const l = this.f.lanes[mark.lane];
    if (this.again(41, l?.x ?? 0, y, y)) {
      return;
    }
    if (l !== undefined) {
      this.poly([l.x, y - 4, l.x + 4, y, l.x, y + 4, l.x - 4, y], 'sentenceMark');
    }
    if (this.dense) {
      return;
    }
    const { lanes } = this.f;
    const style = row.kind === 'loss' ? 'loss' : 'sentence';
    if (l !== undefined && lanes.length > 1) {
      const far = l.side < 0 ? lanes[lanes.length - 1]! : lanes[0]!;
      const beyond = this.hasCall(lanes.indexOf(far), mark.from) ? 0 : far.bands;
      const room = this.characters(Math.abs(far.x - l.x) - 24 + beyond, style);
      this.text(l.x - l.side * 12, y + 4, fitText(row.text, room), l.side < 0 ? 'start' : 'end', style);
    } else {
      this.text((l?.x ?? this.f.time) + 12, y + 4, fitText(row.text, 100), 'start', style);
    }
  }

  /** Reports whether a call of a lane is drawn at a place. */
  private hasCall(lane: number, place: number): boolean {
    const room = 8 / this.w.scale;
    return this.s.index.touching(place - room, place + room).some((i) => this.s.marks[i]!.kind === 'call' && this.s.marks[i]!.lane === lane);
  }

  private note(mark: Mark): void {
    const y = this.y(mark.from);
    if (this.again(42, 0, y, y)) {
      return;
    }
    const text = String(mark.ref + 1);
    this.circle(this.f.note, y, 8.5, 'note');
    if (!this.dense) {
      this.texts.push({ t: 'text', x: this.f.note, y: y + 3.5, text, anchor: 'middle', style: 'noteText', dim: false });
    }
  }

  timeColumn(): void {
    if (this.s.options.scale === 'row' || this.times.raw) {
      this.rowTimes();
    } else {
      this.axisTimes();
    }
  }

  /** A time for each row that has one. */
  private rowTimes(): void {
    const { rows } = this.r.layout;
    if (this.dense) {
      return;
    }
    for (const i of this.rowsInWindow()) {
      const row = rows[i]!;
      this.text(this.f.time - 10, this.y(this.s.rows[i]!) + 4, this.timeText(row), 'end', row.showErr ? 'time' : 'timeAxis');
    }
  }

  /** Rows with a time that are in the window, in order. */
  private rowsInWindow(): Int32Array {
    const { timed, rows } = this.s;
    const from = first(timed.length, (i) => rows[timed[i]!]! >= this.w.top);
    const to = first(timed.length, (i) => rows[timed[i]!]! > this.w.top + this.w.height / this.w.scale);
    return timed.subarray(from, to);
  }

  private timeText(row: Row): string {
    const { layout, moments } = this.r;
    const m = moments[row.moment]!;
    if (this.times.raw) {
      return `${layout.lanes[row.lane]?.name ?? ''} ${groupedNanoseconds(localTime(this.r, m)).replace(/ \d+ s$/, '').replace(' ', '')}`;
    }
    const origin = this.times.origin;
    const text = fixed(row.at - (origin?.at ?? 0), layout.unit, layout.decimals);
    const same = origin !== null && origin.host === m.host;
    const err = origin === null || same ? row.err : row.err === null || origin.err === null ? null : row.err + origin.err;
    const show = same ? false : row.showErr || (origin !== null && origin.err !== 0);
    return `${row.unordered ? '~' : ''}${text}${show ? ` ${fixedError(err, layout.unit, layout.decimals)}` : ''}`;
  }

  /** Even ticks where the scale is even; else times of moments where there is room. */
  private axisTimes(): void {
    const { layout } = this.r;
    const places = this.s.places;
    const zero = this.times.origin?.at ?? 0;
    if (this.s.options.scale === 'log') {
      for (const i of this.rowsInWindow()) {
        const row = layout.rows[i]!;
        if (this.text(this.f.time - 10, this.y(this.s.rows[i]!) + 4, fixed(row.at - zero, layout.unit, layout.decimals), 'end', 'timeAxis')) {
          this.line([this.f.time - 6, this.y(this.s.rows[i]!), this.f.time - 1, this.y(this.s.rows[i]!)], 'wire');
        }
      }
      return;
    }
    const knots = places.knots;
    const begin = Math.max(0, first(knots.length, (i) => knots[i]!.place >= this.w.top) - 1);
    for (const run of evenRuns(knots, begin, this.w.top + this.w.height / this.w.scale, (i) => this.isFolded(i))) {
      const [p, q] = run;
      const [y0, y1] = [this.y(p.place), this.y(q.place)];
      const perPixel = (q.at - p.at) / (y1 - y0);
      const step = tickStep(perPixel, 34);
      const from = Math.max(p.at, p.at + (0 - y0) * perPixel);
      const to = Math.min(q.at, p.at + (this.w.height - y0) * perPixel);
      for (let t = Math.ceil((from - zero) / step) * step; t + zero <= to; t += step) {
        const y = y0 + (t + zero - p.at) / perPixel;
        const decimals = Math.max(0, Math.ceil(-Math.log10(step / layout.unit) - 1e-9));
        if (this.text(this.f.time - 10, y + 4, fixed(t, layout.unit, decimals), 'end', 'timeAxis')) {
          this.shapes.unshift({ t: 'line', points: [this.f.time - 4, y, this.f.width - 4, y], style: 'tick', dim: false });
        }
      }
    }
  }

  private isFolded(knot: number): boolean {
    return this.s.folded[knot] === 1 && !this.s.options.open.has(knot);
  }

  hairline(moment: number, style: string, text: string): void {
    const m = this.r.moments[moment];
    const p = m === undefined ? NaN : (this.s.rows[m.row] ?? NaN);
    if (Number.isNaN(p)) {
      return;
    }
    const y = this.y(p);
    if (y >= 0 && y <= this.w.height) {
      this.line([this.f.time - 6, y, this.f.width - 4, y], style);
      if (text !== '') {
        this.text(this.f.time, y - 4, text, 'start', 'markText');
      }
    }
  }

  /** A bracket from the first to the last moment of what did not pass, the worst first. */
  exceptions(): void {
    let x = this.f.time - 1;
    for (const v of exceptionsOf(this.r)) {
      const at = v.moments.map((m) => this.s.rows[this.r.moments[m]?.row ?? -1] ?? NaN).filter((p) => !Number.isNaN(p));
      if (at.length === 0) {
        continue;
      }
      const [y0, y1] = [Math.max(-20, this.y(Math.min(...at))), Math.min(this.w.height + 20, this.y(Math.max(...at)))];
      if (y1 >= y0) {
        this.line([x + 4, y0, x, y0, x, Math.max(y1, y0 + 2), x + 4, Math.max(y1, y0 + 2)], v.ruling === 'fail' ? 'exception' : 'exceptionUnsure');
        x -= 5;
      }
    }
  }

  /** The chain that a moment stands in: what brought it about, and what it brought about. */
  causes(moment: number): void {
    for (const c of this.r.causes) {
      if (c.by !== moment && c.effect !== moment) {
        continue;
      }
      const [a, b] = [this.point(c.by), this.point(c.effect)];
      if (a === null || b === null) {
        continue;
      }
      const clipped = clipLine(a.x, a.y, b.x, b.y, -60, this.w.height + 60);
      if (clipped === null) {
        continue;
      }
      this.line(clipped, c.known === 'observed' ? 'cause' : 'causeInferred');
      if (Math.hypot(b.x - a.x, b.y - a.y) > 14) {
        this.head(a.x, a.y, b.x, b.y, 'causeHead');
      }
    }
  }

  /** Where a moment is drawn. */
  private point(moment: number): { x: number; y: number } | null {
    const m = this.r.moments[moment];
    const lane = m === undefined ? -1 : this.r.layout.lanes.findIndex((l) => l.host === m.host);
    const p = m === undefined ? NaN : (this.s.rows[m.row] ?? NaN);
    if (m === undefined || lane < 0 || Number.isNaN(p)) {
      return null;
    }
    const l = this.f.lanes[lane]!;
    const b = m.bracket >= 0 ? this.r.layout.brackets[m.bracket] : undefined;
    const out = b === undefined ? 0 : 8 + Math.min(b.column, mostCalls - 1) * callStep + callWidth / 2;
    return { x: l.x + l.side * out, y: this.y(p) };
  }

  outline(mark: Mark, line: string, box: string): void {
    const l = this.f.lanes[mark.lane];
    const y = this.y(mark.from);
    switch (mark.kind) {
      case 'arrow': {
        const a = this.r.layout.arrows[mark.ref]!;
        const at = arrowLine(a, this.s, this.f, this.w);
        const clipped = clipLine(at.x0, at.y0, at.x1, at.y1, -60, this.w.height + 60);
        if (clipped !== null) {
          this.line(clipped, line);
          if (line === 'focus') {
            this.circle(at.left ? at.x0 : at.x1, at.left ? at.y0 : at.y1, 7, 'focus');
          }
        }
        break;
      }
      case 'call': {
        const b = callBox(mark, this.f, this.w);
        this.rect(b.x - 2.5, b.y - 2.5, b.w + 5, b.h + 5, box);
        break;
      }
      case 'span': {
        const b = spanBox(mark, this.f, this.w);
        this.rect(b.x - 1.5, b.y, b.w + 3, b.h, box);
        break;
      }
      case 'fold':
        this.rect(this.f.time - 6, y + 1, this.f.width - this.f.time, (mark.to - mark.from) * this.w.scale - 2, box);
        break;
      case 'note':
        this.circle(this.f.note, y, 11, box);
        break;
      case 'state':
        if (l !== undefined) {
          const x = l.side < 0 ? l.x - l.end : l.x + l.bands - 8;
          this.rect(x, y - 9, l.end - l.bands + 8, 18, box);
        }
        break;
      case 'band':
        if (l !== undefined) {
          this.rect(l.side < 0 ? l.x - l.end : l.x, y, l.end, Math.max(4, (mark.to - mark.from) * this.w.scale), box);
        }
        break;
      default:
        if (l !== undefined) {
          this.circle(l.x, y, 9, box);
        }
    }
  }
}

function unit(x0: number, y0: number, x1: number, y1: number): [number, number] {
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  return [(x1 - x0) / length, (y1 - y0) / length];
}

/** The head of the time column. */
export function timeHead(r: Repetition, times: Times): string {
  return times.raw ? 'own clock / s' : `t / ${unitName(r.layout.unit)}`;
}
