/**
 * From time to place and back. A place is a length from the top of the ladder in heights
 * of a row; the layout's own scale gives it, and a fold that was opened is stretched.
 */

/** A time and its place; the line between two of them is straight. */
export interface Knot {
  at: number;
  place: number;
}

export class Places {
  /** In order of time and of place. */
  readonly knots: readonly Knot[];

  constructor(knots: readonly Knot[]) {
    for (let i = 1; i < knots.length; i++) {
      const [a, b] = [knots[i - 1]!, knots[i]!];
      if (b.at < a.at || b.place < a.place) {
        throw new Error(`the scale falls from ${a.at} ns at ${a.place} to ${b.at} ns at ${b.place}`);
      }
    }
    this.knots = knots;
  }

  /** The place of the end. */
  get length(): number {
    return this.knots.at(-1)?.place ?? 0;
  }

  /**
   * The place of a time; of one with several places, the first. Beyond the ends the ladder
   * goes on with the slope of its last piece that has one.
   */
  of(at: number): number {
    const { knots } = this;
    const n = first(knots.length, (i) => knots[i]!.at >= at);
    if (knots.length === 0) {
      return 0;
    }
    if (n === 0) {
      return knots[0]!.place - (knots[0]!.at - at) * this.slope(0);
    }
    if (n === knots.length) {
      return knots[n - 1]!.place + (at - knots[n - 1]!.at) * this.slope(n - 2);
    }
    const [p, q] = [knots[n - 1]!, knots[n]!];
    return q.at === at ? q.place : p.place + ((q.place - p.place) * (at - p.at)) / (q.at - p.at);
  }

  /** The time at a place; where the place does not grow with time, the earliest. */
  at(place: number): number {
    const { knots } = this;
    const n = first(knots.length, (i) => knots[i]!.place >= place);
    if (knots.length === 0) {
      return 0;
    }
    if (n === 0) {
      const slope = this.slope(0);
      return slope > 0 ? knots[0]!.at - (knots[0]!.place - place) / slope : knots[0]!.at;
    }
    if (n === knots.length) {
      const slope = this.slope(n - 2);
      return slope > 0 ? knots[n - 1]!.at + (place - knots[n - 1]!.place) / slope : knots[n - 1]!.at;
    }
    const [p, q] = [knots[n - 1]!, knots[n]!];
    return q.place === place ? q.at : p.at + ((q.at - p.at) * (place - p.place)) / (q.place - p.place);
  }

  /** Place per nanosecond of piece i, or of the nearest piece that has a length; 0 without. */
  private slope(i: number): number {
    const { knots } = this;
    for (let d = 0; d < knots.length; d++) {
      for (const j of [i - d, i + d]) {
        const [p, q] = [knots[j], knots[j + 1]];
        if (p !== undefined && q !== undefined && q.at > p.at) {
          return (q.place - p.place) / (q.at - p.at);
        }
      }
    }
    return 0;
  }
}

/**
 * Knots with some of the folds opened; folds are named by the knot that they begin at. An
 * opened fold is as long as its time is with the slope of the pieces that are not folded,
 * all taken together, but at least as long as it was and at most so many rows.
 */
export function openFolds(knots: readonly Knot[], folded: ArrayLike<number>, open: ReadonlySet<number>, most = Infinity): Knot[] {
  if (open.size === 0) {
    return [...knots];
  }
  let [time, place] = [0, 0];
  for (let i = 1; i < knots.length; i++) {
    if (!folded[i - 1]) {
      time += knots[i]!.at - knots[i - 1]!.at;
      place += knots[i]!.place - knots[i - 1]!.place;
    }
  }
  const slope = time > 0 ? place / time : 0;
  let moved = 0;
  return knots.map((q, i) => {
    const p = knots[i - 1];
    if (p !== undefined && folded[i - 1] && open.has(i - 1)) {
      const was = q.place - p.place;
      moved += Math.max(was, Math.min(most, (q.at - p.at) * slope)) - was;
    }
    return { at: q.at, place: q.place + moved };
  });
}

/** Where a place of some knots is after the knots were moved: between two it moves evenly. */
export function moveWith(from: readonly Knot[], to: readonly Knot[], place: number): number {
  const n = first(from.length, (i) => from[i]!.place > place);
  if (n === 0) {
    return place + (to[0]?.place ?? 0) - (from[0]?.place ?? 0);
  }
  const [p, q] = [from[n - 1]!, from[n]];
  if (q === undefined) {
    return to[n - 1]!.place + place - p.place;
  }
  return to[n - 1]!.place + ((to[n]!.place - to[n - 1]!.place) * (place - p.place)) / (q.place - p.place);
}

/** The smallest of 0..n for which is holds, n if it does for none; is may not turn back. */
export function first(n: number, is: (i: number) => boolean): number {
  let [low, high] = [0, n];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (is(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

/** Steps for ticks of a time axis, nanoseconds: 1, 2 or 5 times a power of ten. */
export function tickStep(nsPerPixel: number, pixels: number): number {
  const least = Math.max(1, nsPerPixel * pixels);
  const power = 10 ** Math.floor(Math.log10(least));
  for (const factor of [1, 2, 5, 10]) {
    if (factor * power >= least * 0.999999) {
      return factor * power;
    }
  }
  return 10 * power;
}

/**
 * Stretches of knots, from a knot to a place, along which the place grows evenly with time:
 * pieces of the same slope are taken together. Folded pieces and those without time are
 * left out.
 */
export function evenRuns(knots: readonly Knot[], begin: number, until: number, folded: (knot: number) => boolean): [Knot, Knot][] {
  const runs: [Knot, Knot][] = [];
  let slope = NaN;
  for (let i = begin; i + 1 < knots.length && knots[i]!.place <= until; i++) {
    const [p, q] = [knots[i]!, knots[i + 1]!];
    if (q.at <= p.at || folded(i)) {
      if (q.place > p.place) {
        slope = NaN;
      }
      continue;
    }
    const own = (q.place - p.place) / (q.at - p.at);
    const last = runs.at(-1);
    if (last !== undefined && Math.abs(own - slope) <= 1e-6 * slope) {
      last[1] = q;
    } else {
      runs.push([p, q]);
      slope = own;
    }
  }
  return runs;
}
