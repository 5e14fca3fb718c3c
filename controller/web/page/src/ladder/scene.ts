/**
 * What a ladder shows of a repetition: its marks at their places, found by place. It is
 * made from the layout and decides nothing about what is shown, but for what a person has
 * switched off. Places are heights of a row from the top.
 */
import type { Layers, ScaleName } from '../app';
import type { Axis, Repetition, Row } from '../data';
import { Intervals } from './intervals';
import { columns } from './pack';
import { type Knot, moveWith, openFolds, Places } from './place';

export type MarkKind = 'arrow' | 'call' | 'span' | 'state' | 'drop' | 'sentence' | 'band' | 'fold' | 'note';

/** One thing in the picture that can be pointed at. */
export interface Mark {
  /** Its place in Scene.marks. */
  index: number;
  kind: MarkKind;
  /** Index of the list of the layout that its kind is of; for a fold its knot. */
  ref: number;
  /** The lane it stands at; of an arrow the one it leaves, -1 if it is of none. */
  lane: number;
  from: number;
  to: number;
  /** Moments that it shows; selecting it selects the first. */
  moments: number[];
  /** True if the filter does not name it, or it is of another connection. */
  dim: boolean;
  /** The column of a call or of a span, 0 nearest to the line. */
  column: number;
}

/** What of a repetition a scene is to show, and how. */
export interface SceneOptions {
  scale: ScaleName;
  connection: number;
  layers: Readonly<Layers>;
  /** For each moment 1 if the filter names it; null without one. */
  matches: Uint8Array | null;
  filterMode: 'dim' | 'hide';
  /** Opened folds, by their knots. */
  open: ReadonlySet<number>;
}

export interface Scene {
  repetition: Repetition;
  options: SceneOptions;
  marks: Mark[];
  index: Intervals;
  places: Places;
  /** For each knot of places 1 if the time up to the next is folded, opened or not. */
  folded: ArrayLike<number>;
  /** The place of each row; NaN for one that is not shown. */
  rows: Float64Array;
  /** The rows that are shown and have a time, in order. */
  timed: Int32Array;
  /** The largest ± of its moments; null if there is one that nothing bounds. */
  err: number | null;
  /** The height of the whole. */
  length: number;
  /** Marks of a moment. */
  ofMoment: Map<number, number[]>;
  /** For each lane, how many columns of states it has. */
  bandColumns: number[];
  /** Marks in the order in which keys go through them. */
  order: number[];
}

/** So many connections at a time have bands of their own beside a lane; what is beyond shares the last column. */
const mostBands = 5;

/** So many notes stand beside each other. */
export const mostNotes = 3;

/** How many rows an opened fold may take where rows have one height. */
const mostOpenRows = 24;

export function makeScene(repetition: Repetition, options: SceneOptions): Scene {
  const { layout } = repetition;
  const axis = layout.axes.find((a) => a.name === options.scale);
  if (axis === undefined) {
    throw new Error(`the layout has no scale "${options.scale}"`);
  }
  const shown = shownRows(repetition, options);
  const { places, rows, folds } = layAxis(axis, layout.rows, shown, options);
  const b = new Builder(repetition, options, rows);
  if (options.layers.states) {
    b.spans();
    b.states();
  }
  b.bands();
  if (options.layers.calls) {
    b.calls();
  }
  if (options.layers.packets) {
    b.arrows();
    b.drops();
  }
  b.sentences();
  for (const fold of folds) {
    b.add({ kind: 'fold', ref: fold.knot, lane: -1, from: fold.from, to: fold.to, moments: [], dim: false, column: 0 });
  }
  if (options.layers.notes) {
    b.notes();
  }
  const { marks } = b;
  let timed: Int32Array | undefined;
  let ofMoment: Map<number, number[]> | undefined;
  let order: number[] | undefined;
  let err: number | null | undefined;
  return {
    repetition, options, marks, places, rows, folded: axis.folded,
    index: new Intervals(Float64Array.from(marks, (m) => m.from), Float64Array.from(marks, (m) => m.to)),
    length: places.length,
    bandColumns: b.bandColumns,
    // The first picture needs none of these, or not of all scales.
    get timed() { return (timed ??= Int32Array.from(layout.rows.keys()).filter((i) => layout.rows[i]!.moment >= 0 && !Number.isNaN(rows[i]!))); },
    get ofMoment() { return (ofMoment ??= byMoment(marks)); },
    get order() { return (order ??= keyOrder(marks, layout, rows)); },
    get err() { return err === undefined ? (err = largestError(repetition)) : err; },
  };
}

/**
 * Dims the marks of a scene by another filter, where that changes nothing else: what the filter
 * does not name is dimmed and not left out, before and after. It changes the scene in place.
 */
export function dimBy(scene: Scene, matches: Uint8Array | null): void {
  scene.options = { ...scene.options, matches };
  for (const mark of scene.marks) {
    mark.dim = isDimKind(mark) && isDim(matches, mark.moments);
  }
}

/** Reports whether a filter is about a mark: notes, folds and bands are always told, and so is what has no moment. */
function isDimKind(m: Mark): boolean {
  switch (m.kind) {
    case 'arrow':
    case 'call':
    case 'drop':
      return true;
    case 'state':
    case 'sentence':
      return m.moments.length > 0;
  }
  return false;
}

function isDim(matches: Uint8Array | null, moments: readonly number[]): boolean {
  return matches !== null && !matched(matches, moments);
}

function byMoment(marks: readonly Mark[]): Map<number, number[]> {
  const map = new Map<number, number[]>();
  for (const mark of marks) {
    for (const m of mark.moments) {
      const list = map.get(m);
      if (list === undefined) {
        map.set(m, [mark.index]);
      } else {
        list.push(mark.index);
      }
    }
  }
  return map;
}

/** From the top down, of one height from lane to lane. */
function keyOrder(marks: readonly Mark[], layout: Repetition['layout'], rows: Float64Array): number[] {
  const at = Float64Array.from(marks, (m) => (m.kind === 'arrow' ? arrowBegin(m, layout, rows) : m.from));
  return marks.map((m) => m.index).sort((i, j) => at[i]! - at[j]! || marks[i]!.lane - marks[j]!.lane || i - j);
}

function largestError(r: Repetition): number | null {
  let most = 0;
  for (const { err } of r.moments) {
    if (err === null) {
      return null;
    }
    most = Math.max(most, err);
  }
  return most;
}

/** An arrow that points up begins below its end. */
function arrowBegin(mark: Mark, layout: Repetition['layout'], rows: Float64Array): number {
  const a = layout.arrows[mark.ref]!;
  return a.departure >= 0 ? rows[a.departure]! : mark.from;
}

/** Which rows are shown: not those of what is switched off, or filtered out. */
function shownRows(repetition: Repetition, options: SceneOptions): boolean[] {
  const { layout } = repetition;
  return layout.rows.map((r) => rowShown(r, repetition, options));
}

function rowShown(r: Row, repetition: Repetition, o: SceneOptions): boolean {
  const { layout, moments } = repetition;
  const arrow = r.arrow >= 0 ? layout.arrows[r.arrow] : undefined;
  const bracket = r.bracket >= 0 ? layout.brackets[r.bracket] : undefined;
  const state = r.kind === 'state' ? layout.states[r.mark] : undefined;
  if ((arrow !== undefined || r.kind === 'drop') && !o.layers.packets) return false;
  if (bracket !== undefined && (!o.layers.calls || (bracket.lab && !o.layers.lab))) return false;
  if (state !== undefined && !o.layers.states) return false;
  if (o.connection !== 0) {
    const of = arrow?.connection ?? state?.connection ?? (r.moment >= 0 ? moments[r.moment]!.connection : 0);
    if (of !== 0 && of !== o.connection) return false;
  }
  if (o.matches === null || o.filterMode !== 'hide') return true;
  if (arrow !== undefined) return matched(o.matches, [arrow.left, arrow.came]);
  if (bracket !== undefined) return matched(o.matches, [bracket.from, bracket.to]);
  if (state !== undefined && r.moment < 0) return true;
  return r.moment < 0 || o.matches[r.moment] === 1;
}

function matched(matches: Uint8Array, moments: readonly number[]): boolean {
  return moments.some((m) => m >= 0 && matches[m] === 1);
}

/** Lays the shown rows on the axis. */
function layAxis(axis: Axis, rows: readonly Row[], shown: readonly boolean[], o: SceneOptions): {
  places: Places; rows: Float64Array; folds: { knot: number; from: number; to: number }[];
} {
  let { places: of } = axis;
  const { times, knots: heights } = axis;
  let knots: Knot[] = Array.from(times, (at, i) => ({ at, place: heights[i]! }));
  if (axis.name === 'row' && shown.includes(false)) {
    // Rows that are left out leave no gap. A knot of one that is left out is where the next
    // shown one is.
    let next = 0;
    const compact = Float64Array.from(axis.places, (_, i) => (shown[i] ? next++ : next));
    knots = knots.map((k) => ({ at: k.at, place: compact[Math.min(Math.round(k.place), compact.length - 1)] ?? 0 }));
    of = compact;
  }
  const opened = openFolds(knots, axis.folded, o.open, axis.name === 'row' ? mostOpenRows : Infinity);
  const placed = Float64Array.from(of, (p, i) => (shown[i] ? (o.open.size > 0 ? moveWith(knots, opened, p) : p) : NaN));
  const folds: { knot: number; from: number; to: number }[] = [];
  for (let i = 0; i + 1 < opened.length; i++) {
    if (axis.folded[i] && opened[i + 1]!.place > opened[i]!.place) {
      folds.push({ knot: i, from: opened[i]!.place, to: opened[i + 1]!.place });
    }
  }
  // A quiet row is shown by its fold.
  rows.forEach((r, i) => {
    if (r.kind === 'quiet') {
      placed[i] = NaN;
    }
  });
  return { places: new Places(opened), rows: placed, folds };
}

/** The bands of an end of a connection. */
interface EndSpans {
  key: string;
  from: number;
  to: number;
  settled: number;
  spans: { ref: number; from: number; to: number; open: boolean }[];
}

class Builder {
  readonly marks: Mark[] = [];
  readonly bandColumns: number[];
  private readonly r: Repetition;
  private readonly o: SceneOptions;
  private readonly rows: Float64Array;
  /** The place of the last row that is shown. */
  private readonly last: number;

  constructor(repetition: Repetition, options: SceneOptions, rows: Float64Array) {
    this.r = repetition;
    this.o = options;
    this.rows = rows;
    this.last = rows.findLast((p) => !Number.isNaN(p)) ?? 0;
    this.bandColumns = repetition.layout.lanes.map(() => 0);
  }

  add(mark: Omit<Mark, 'index'>): void {
    const { kind, ref, lane, from, to, moments, dim, column } = mark;
    this.marks.push({ index: this.marks.length, kind, ref, lane, from, to, moments, dim, column });
  }

  /** The place of a row that is shown; NaN for none. */
  private place(row: number): number {
    return row >= 0 ? (this.rows[row] ?? NaN) : NaN;
  }

  /** The place of the nearest shown row at or above, or at or below, a row. */
  private near(row: number, step: 1 | -1): number {
    for (let i = row; i >= 0 && i < this.rows.length; i += step) {
      if (!Number.isNaN(this.rows[i]!)) {
        return this.rows[i]!;
      }
    }
    return step < 0 ? 0 : this.last;
  }

  /** Columns of the ends of connections, "connection.end" by lane. */
  private readonly columnOf = new Map<string, number>();

  private isDim(moments: readonly number[]): boolean {
    return isDim(this.o.matches, moments);
  }

  private ofOther(connection: number): boolean {
    return this.o.connection !== 0 && connection !== 0 && connection !== this.o.connection;
  }

  /**
   * Bands of states. An end keeps its column through all of its states; where there are more
   * ends at a time than columns, one that has come to its last state leaves it to another.
   */
  spans(): void {
    this.r.layout.lanes.forEach((_, lane) => {
      const ends = this.endsOf(lane);
      let packed = columns(ends, Infinity);
      if (packed.count > mostBands) {
        packed = columns(ends.map((e) => ({ from: e.from, to: e.settled })), mostBands);
      }
      this.bandColumns[lane] = packed.count;
      const next = new Map<number, number>();
      for (let e = ends.length - 1; e >= 0; e--) {
        const { from, spans, key } = ends[e]!;
        const column = packed.column[e]!;
        const until = next.get(column) ?? Infinity;
        next.set(column, from);
        this.columnOf.set(key, column);
        for (const s of spans) {
          const to = s.open ? Math.max(s.from, Math.min(s.to, until)) : s.to;
          if (to > s.from) {
            this.add({ kind: 'span', ref: s.ref, lane, from: s.from, to, moments: [], dim: false, column });
          }
        }
      }
    });
  }

  /** The ends at a lane with their spans, in order of their begins. settled is when the last state began. */
  private endsOf(lane: number): EndSpans[] {
    const ends = new Map<string, EndSpans>();
    this.r.layout.spans.forEach((s, ref) => {
      // CLOSED is no state of a socket, and has no band.
      if (s.lane !== lane || this.ofOther(s.connection) || s.name === 'CLOSED') {
        return;
      }
      const from = this.near(s.first, 1);
      const to = Math.max(from, s.open ? this.last : this.near(s.last, 1));
      const key = `${lane}.${s.connection}.${s.end}`;
      const end = ends.get(key) ?? { key, from, to, settled: from, spans: [] };
      end.from = Math.min(end.from, from);
      end.to = Math.max(end.to, to);
      end.settled = Math.max(end.settled, s.open ? from : to);
      end.spans.push({ ref, from, to, open: s.open });
      ends.set(key, end);
    });
    return [...ends.values()].sort((a, b) => a.from - b.from);
  }

  /** A state's row is a mark of its own only where it says more than that the span begins. */
  states(): void {
    this.r.layout.states.forEach((s, i) => {
      const at = this.place(s.row);
      if (Number.isNaN(at)) {
        return;
      }
      const m = this.r.layout.rows[s.row]!.moment;
      const moments = m >= 0 ? [m] : [];
      this.add({ kind: 'state', ref: i, lane: s.lane, from: at, to: at, moments, dim: moments.length > 0 && this.isDim(moments), column: this.columnOf.get(`${s.lane}.${s.connection}.${s.end}`) ?? 0 });
    });
  }

  calls(): void {
    this.r.layout.brackets.forEach((b, i) => {
      const moments = [b.from, b.to].filter((m) => m >= 0);
      if (Number.isNaN(this.place(b.enter)) && Number.isNaN(this.place(b.return))) {
        return;
      }
      const from = b.enter >= 0 ? this.near(b.enter, 1) : this.near(b.return, 1);
      const to = b.return >= 0 ? this.near(b.return, 1) : this.last;
      this.add({ kind: 'call', ref: i, lane: b.lane, from, to: Math.max(from, to), moments: b.from === b.to ? moments.slice(0, 1) : moments, dim: this.isDim(moments), column: b.column });
    });
  }

  arrows(): void {
    this.r.layout.arrows.forEach((a, i) => {
      const ends = [this.place(a.departure), this.place(a.arrival)].filter((p) => !Number.isNaN(p));
      if (ends.length === 0) {
        return;
      }
      const moments = [a.left, a.came].filter((m) => m >= 0);
      this.add({
        kind: 'arrow', ref: i, lane: a.departure >= 0 ? a.from : a.to, from: Math.min(...ends), to: Math.max(...ends),
        moments, dim: this.isDim(moments), column: 0,
      });
    });
  }

  drops(): void {
    this.r.layout.drops.forEach((d, i) => {
      const at = this.place(d.row);
      if (Number.isNaN(at)) {
        return;
      }
      const m = this.r.layout.rows[d.row]!.moment;
      const moments = m >= 0 ? [m] : [];
      this.add({ kind: 'drop', ref: i, lane: d.lane, from: at, to: at, moments, dim: this.isDim(moments), column: 0 });
    });
  }

  sentences(): void {
    this.r.layout.rows.forEach((r, i) => {
      const at = this.place(i);
      if (Number.isNaN(at) || (r.kind !== 'note' && r.kind !== 'deed' && r.kind !== 'trace' && r.kind !== 'loss')) {
        return;
      }
      const moments = r.moment >= 0 ? [r.moment] : [];
      this.add({ kind: 'sentence', ref: i, lane: r.lane, from: at, to: at, moments, dim: moments.length > 0 && this.isDim(moments), column: 0 });
    });
  }

  bands(): void {
    this.r.layout.bands.forEach((b, i) => {
      const from = b.first > 0 ? this.near(b.first - 1, -1) : 0;
      this.add({ kind: 'band', ref: i, lane: b.lane, from, to: Math.max(from, this.near(b.last, -1)), moments: [], dim: false, column: 0 });
    });
  }

  /** Notes that stand beside one row stand beside each other; beyond the third on the third. */
  notes(): void {
    const beside = new Map<number, number>();
    this.r.notes.forEach((n, i) => {
      if (this.ofOther(n.connection)) {
        return;
      }
      // It stands beside the last of its moments that is shown.
      const row = n.moments.map((m) => this.r.moments[m]?.row ?? -1).findLast((r) => !Number.isNaN(this.place(r)));
      if (row === undefined) {
        return;
      }
      const at = this.place(row);
      const column = beside.get(at) ?? 0;
      beside.set(at, column + 1);
      this.add({ kind: 'note', ref: i, lane: -1, from: at, to: at, moments: n.moments, dim: false, column: Math.min(column, mostNotes - 1) });
    });
  }
}
