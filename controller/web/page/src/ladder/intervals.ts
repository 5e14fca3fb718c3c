/** Finds the marks that lie in a part of the ladder, without looking at all of them. */

/**
 * Indices in the order of their values, equals in their own. Marks of one sort come in order
 * already, and the sort of arrays, unlike that of typed ones, makes use of that.
 */
export function inOrder(of: ArrayLike<number>): number[] {
  const order = Array.from({ length: of.length }, (_, i) => i);
  for (let i = 1; i < order.length; i++) {
    if (of[i]! < of[i - 1]!) {
      return order.sort((a, b) => of[a]! - of[b]! || a - b);
    }
  }
  return order;
}

export class Intervals {
  /** Indices in order of their begins. */
  private readonly order: Uint32Array;
  private readonly from: Float64Array;
  private readonly to: Float64Array;
  /** A tree over the order: node i has the largest end of what is below it. */
  private readonly latest: Float64Array;
  private readonly leaves: number;

  /** Interval i is from[i] to to[i], both ends belonging to it. */
  constructor(from: ArrayLike<number>, to: ArrayLike<number>) {
    const n = from.length;
    this.order = Uint32Array.from(inOrder(from));
    this.from = Float64Array.from(this.order, (i) => from[i]!);
    this.to = Float64Array.from(this.order, (i) => to[i]!);
    this.leaves = 1;
    while (this.leaves < n) {
      this.leaves *= 2;
    }
    this.latest = new Float64Array(2 * this.leaves).fill(-Infinity);
    this.latest.set(this.to, this.leaves);
    for (let i = this.leaves - 1; i > 0; i--) {
      this.latest[i] = Math.max(this.latest[2 * i]!, this.latest[2 * i + 1]!);
    }
  }

  /** Indices of the intervals that touch low to high, in order of their begins. */
  touching(low: number, high: number): number[] {
    const found: number[] = [];
    this.collect(1, 0, this.leaves, low, high, found);
    return found;
  }

  private collect(node: number, begin: number, end: number, low: number, high: number, found: number[]): void {
    if (begin >= this.order.length || this.latest[node]! < low || this.from[begin]! > high) {
      return;
    }
    if (end - begin === 1) {
      found.push(this.order[begin]!);
      return;
    }
    const middle = (begin + end) / 2;
    this.collect(2 * node, begin, middle, low, high, found);
    this.collect(2 * node + 1, middle, end, low, high, found);
  }
}
