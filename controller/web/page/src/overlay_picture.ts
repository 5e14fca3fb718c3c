/** All repetitions over each other: the packets of each as thin lines, of one as bold ones. */
import type { ScaleName } from './app';
import type { Repetition, Ruling } from './data';
import { Places } from './ladder/place';

/** What is kept of a repetition that lies below the others. */
export interface Trace {
  readonly repetition: number;
  readonly ruling: Ruling;
  /** Four numbers a packet: the lanes it went between, and when it left and came. */
  readonly packets: Float64Array;
}

/** Packets of which both ends were seen, on one clock. */
export function traceOf(r: Repetition): Trace {
  const packets: number[] = [];
  for (const w of r.layout.arrows) {
    if (!w.delayed || w.from < 0 || w.to < 0) continue;
    packets.push(w.from, w.to, r.moments[w.left]!.at, r.moments[w.came]!.at);
  }
  return { repetition: r.n, ruling: r.ruling, packets: Float64Array.from(packets) };
}

/** How the picture maps lanes and times to pixels. */
export interface Frame {
  x(lane: number): number;
  y(at: number): number;
  readonly width: number;
  readonly height: number;
}

/** Time goes as in the ladder of the open repetition, on the scale that is chosen there. */
export function frameOf(r: Repetition, scale: ScaleName, width: number, height: number): Frame {
  const axis = r.layout.axes.find((a) => a.name === scale);
  const places = new Places(axis === undefined ? [] : Array.from(axis.times, (at, i) => ({ at, place: axis.knots[i]! })));
  const top = places.knots[0]?.place ?? 0;
  // Some room for repetitions that took longer.
  const long = Math.max(1e-9, (places.length - top) * 1.12);
  const lanes = Math.max(2, r.layout.lanes.length);
  const side = 24;
  return {
    width, height,
    x: (lane) => side + (lane * (width - 2 * side)) / (lanes - 1),
    y: (at) => 10 + ((places.of(at) - top) / long) * (height - 20),
  };
}

/** Colours by name, as the theme has them now. */
export type Colours = (name: string) => string;

/** Draws all traces into a canvas, the bold one last. */
export function paintOverlay(context: CanvasRenderingContext2D, frame: Frame, lanes: number, traces: readonly Trace[], open: Trace, colours: Colours): void {
  context.clearRect(0, 0, frame.width, frame.height);
  context.lineWidth = 1;
  context.strokeStyle = colours('grid');
  for (let lane = 0; lane < lanes; lane++) stroke(context, frame.x(lane), 0, frame.x(lane), frame.height);
  // The more there are the fainter each is, so that many alike make a grey and not a black.
  context.globalAlpha = Math.max(0.06, Math.min(0.5, 12 / Math.max(1, traces.length)));
  for (const t of traces) {
    const odd = t.ruling !== 'pass' && t.ruling !== 'no verdict';
    context.strokeStyle = colours(odd ? 'bad' : 'muted');
    context.setLineDash(odd ? [4, 3] : []);
    paintTrace(context, frame, t);
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
  context.lineWidth = 2.5;
  context.strokeStyle = colours('text');
  paintTrace(context, frame, open);
}

function paintTrace(context: CanvasRenderingContext2D, frame: Frame, t: Trace): void {
  const { packets } = t;
  for (let i = 0; i < packets.length; i += 4) {
    stroke(context, frame.x(packets[i]!), frame.y(packets[i + 2]!), frame.x(packets[i + 1]!), frame.y(packets[i + 3]!));
  }
}

function stroke(context: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

/** The repetition with a packet nearest to a point, if one is within reach of it; else null. */
export function nearest(frame: Frame, traces: readonly Trace[], x: number, y: number, reach = 6): number | null {
  let best: number | null = null;
  let least = reach;
  for (const t of traces) {
    for (let i = 0; i < t.packets.length; i += 4) {
      const d = distance(x, y, frame.x(t.packets[i]!), frame.y(t.packets[i + 2]!), frame.x(t.packets[i + 1]!), frame.y(t.packets[i + 3]!));
      if (d < least) [best, least] = [t.repetition, d];
    }
  }
  return best;
}

/** From a point to the part of a line between its ends. */
function distance(x: number, y: number, x0: number, y0: number, x1: number, y1: number): number {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const along = dx === 0 && dy === 0 ? 0 : Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)));
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
}
