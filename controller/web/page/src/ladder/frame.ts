/** How the width of the picture is shared between the time column and the lanes. */
import type { Scene } from './scene';

/** Height of a row before zooming, and the sizes of what stands in a lane, in pixels. */
export const rowHeight = 20;
export const callWidth = 10;
export const callStep = 13;
export const bandWidth = 11;
export const bandStep = 13;
export const noteStep = 20;
/** Calls that are open at once beyond so many share the last column. */
export const mostCalls = 6;

/** Where a lane's parts are. Offsets are from the line, and grow to the lane's outer side. */
export interface LaneFrame {
  x: number;
  /** -1 if its parts are left of the line, 1 if right. */
  side: -1 | 1;
  /** Where the texts of calls begin, and how many pixels they have. */
  callText: number;
  callTextWidth: number;
  /** Where the bands of states begin, and their names. */
  bands: number;
  stateText: number;
  stateTextWidth: number;
  /** Where the lane ends. */
  end: number;
}

export interface Frame {
  width: number;
  /** The width of a character of the picture's font at 12 pixels. */
  character: number;
  /** Where the time column ends. */
  time: number;
  /** The middle of the first column of notes. */
  note: number;
  lanes: LaneFrame[];
}

export function makeFrame(scene: Scene, width: number, character: number, raw = false): Frame {
  const { layout } = scene.repetition;
  const { layers } = scene.options;
  const time = Math.ceil(((raw ? rawCharacters(scene) : timeCharacters(scene)) * character * 11) / 12) + 14;
  const noteColumns = scene.marks.reduce((most, m) => (m.kind === 'note' ? Math.max(most, m.column + 1) : most), 0);
  const noteWidth = noteColumns === 0 ? 0 : 6 + noteColumns * noteStep;
  const n = layout.lanes.length;
  const depth = (i: number): number => (layers.calls ? Math.min(layout.lanes[i]!.depth, mostCalls) * callStep : 0);
  const bands = (i: number): number => (layers.states ? scene.bandColumns[i]! * bandStep : 0);
  const compact = width < 720;
  const stateText = layers.states ? Math.ceil(stateCharacters(scene) * character * 0.93) + 8 : 0;
  const fixed = layout.lanes.reduce((sum, _, i) => sum + 10 + depth(i) + bands(i) + (bands(i) > 0 ? stateText : 0), 0);
  const left = width - time - noteWidth - fixed - 12;
  const gaps = Math.max(1, n - 1);
  // The packets between the lanes come first: they have half of what is left.
  const most = Math.max(0, Math.min(compact ? 130 : 220, (left - Math.max(150 * gaps, left * 0.5)) / Math.max(1, n)));
  const wanted = layout.lanes.map((_, i) => (layers.calls ? Math.min(most, callCharacters(scene, i) * character + 10) : 0));
  const widthOf = (i: number): number => 10 + depth(i) + wanted[i]! + bands(i) + (bands(i) > 0 ? stateText : 0);
  const lane = (i: number, x: number, side: -1 | 1): LaneFrame => {
    const calls = 8 + depth(i) + (depth(i) > 0 ? 2 : 0);
    return {
      x, side, callText: calls, callTextWidth: wanted[i]! - 6,
      bands: calls + wanted[i]!, stateText: calls + wanted[i]! + bands(i) + 4, stateTextWidth: stateText, end: widthOf(i),
    };
  };
  const begin = time + noteWidth;
  const lanes: LaneFrame[] = [];
  const firstX = begin + (n > 0 ? widthOf(0) : 0);
  const lastX = n > 1 ? width - 8 - widthOf(n - 1) : firstX;
  for (let i = 0; i < n; i++) {
    const x = n > 1 ? firstX + ((lastX - firstX) * i) / (n - 1) : firstX;
    lanes.push(lane(i, Math.round(x), i === 0 ? -1 : 1));
  }
  return { width, character, time, note: time + 3 + noteStep / 2, lanes };
}

/** The most letters of a name that a column gives way to. TCP's longest state has 12. */
const mostName = 24;

/** How many characters a host's own time has, with the host's name before it. */
function rawCharacters(scene: Scene): number {
  const { layout, localBase } = scene.repetition;
  // Without the last nine digits these are seconds; a point and six decimals follow.
  return Math.max(12, ...layout.lanes.map((l) => Math.min(l.name.length, mostName) + 1 + Math.max(1, (localBase[l.host] ?? '').length - 9) + 8));
}

/** How many characters a time of this ladder has. */
function timeCharacters(scene: Scene): number {
  const { layout } = scene.repetition;
  let [longest, error] = [0, false];
  for (const r of layout.rows) {
    longest = Math.max(longest, Math.abs(r.at));
    error ||= r.showErr;
  }
  const whole = Math.max(1, Math.floor(Math.log10(Math.max(1, longest / layout.unit))) + 1);
  return Math.max(11, whole + 2 + layout.decimals + (error && scene.options.scale === 'row' ? 7 : 0));
}

/** How many characters the longest text beside a call of a lane has. */
function callCharacters(scene: Scene, lane: number): number {
  let most = 0;
  for (const b of scene.repetition.layout.brackets) {
    if (b.lane === lane) {
      most = Math.max(most, b.enter === b.return ? b.call.length + b.result.length + 3 : Math.max(b.call.length, b.result.length + 12));
    }
  }
  return most;
}

/** How many characters the longest name of a state has. */
function stateCharacters(scene: Scene): number {
  return scene.repetition.layout.states.reduce((most, s) => Math.max(most, Math.min(s.name.length, mostName) + (s.hole ? 1 : 0), s.doubt === '' ? 0 : 10), 6);
}
