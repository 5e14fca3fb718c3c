/** Where things are in the picture: what draws and what points use the same. */
import type { Arrow } from '../data';
import { bandStep, bandWidth, callStep, callWidth, type Frame, type LaneFrame, mostCalls } from './frame';
import type { Box } from './pack';
import type { Mark, Scene } from './scene';

/** The part of the ladder that is drawn: y is (place − top) · scale. */
export interface Window {
  /** Place of the upper edge. */
  top: number;
  /** Pixels for a place. */
  scale: number;
  height: number;
}

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
export function callBox(mark: Mark, frame: Frame, w: Window): Box {
  const l = frame.lanes[mark.lane]!;
  const inner = 8 + Math.min(mark.column, mostCalls - 1) * callStep;
  const y0 = (mark.from - w.top) * w.scale;
  const h = Math.max(6, (mark.to - mark.from) * w.scale);
  return { x: l.side < 0 ? l.x - inner - callWidth : l.x + inner, y: mark.to > mark.from ? y0 : y0 - 3, w: callWidth, h };
}

/** The box of a state's band. */
export function spanBox(mark: Mark, frame: Frame, w: Window): Box {
  const l = frame.lanes[mark.lane]!;
  const inner = l.bands + mark.column * bandStep;
  return {
    x: l.side < 0 ? l.x - inner - bandWidth : l.x + inner, y: (mark.from - w.top) * w.scale, w: bandWidth,
    h: Math.max(1.5, (mark.to - mark.from) * w.scale),
  };
}

/** The direction of a line, of length 1. */
export function unit(x0: number, y0: number, x1: number, y1: number): [number, number] {
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  return [(x1 - x0) / length, (y1 - y0) / length];
}
