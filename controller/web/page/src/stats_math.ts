/** Order statistics for pictures: what a box and a distribution curve are drawn from. */
import type { PhaseStatistics, PhaseValue } from './data';

/** Reports whether the values were enough for an interval of the median. */
export function hasInterval(p: PhaseStatistics): boolean {
  return p.confidence > 0;
}

/** The values that figures rest on: lengths between clocks that something ties. */
export function counted(values: readonly PhaseValue[]): PhaseValue[] {
  return values.filter((v) => v.err !== null);
}

/** A box plot's numbers. Whiskers reach the last values within 1.5 box lengths (Tukey). */
export interface Box {
  readonly low: number;
  readonly q1: number;
  readonly median: number;
  readonly q3: number;
  readonly high: number;
}

/** The quantile p of values in rising order, between two of them in proportion (R's type 7). */
export function quantile(sorted: readonly number[], p: number): number {
  if (sorted.length === 0) return NaN;
  const place = p * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (place - below);
}

/** The box of values in rising order; null of none. */
export function boxOf(sorted: readonly number[]): Box | null {
  if (sorted.length === 0) return null;
  const q1 = quantile(sorted, 0.25);
  const q3 = quantile(sorted, 0.75);
  const reach = 1.5 * (q3 - q1);
  return {
    low: sorted.find((v) => v >= q1 - reach)!,
    q1,
    median: quantile(sorted, 0.5),
    q3,
    high: sorted.findLast((v) => v <= q3 + reach)!,
  };
}

/** One step of an empirical distribution: up to value, so much of the whole. */
export interface Step {
  readonly value: number;
  readonly share: number;
  /** Between these the true distribution lies, for all values at once, with 95 %. */
  readonly low: number;
  readonly high: number;
}

/**
 * Half the height of the band that holds the whole true distribution function with the
 * confidence given (Dvoretzky, Kiefer, Wolfowitz; the constant is Massart's).
 */
export function bandHalf(n: number, confidence = 0.95): number {
  return n === 0 ? 1 : Math.sqrt(Math.log(2 / (1 - confidence)) / (2 * n));
}

/** The empirical distribution of values in rising order, with its band; equal values are one step. */
export function distribution(sorted: readonly number[]): Step[] {
  const n = sorted.length;
  const half = bandHalf(n);
  const steps: Step[] = [];
  for (let i = 0; i < n; i++) {
    if (sorted[i + 1] === sorted[i]) continue;
    const share = (i + 1) / n;
    steps.push({ value: sorted[i]!, share, low: Math.max(0, share - half), high: Math.min(1, share + half) });
  }
  return steps;
}

/**
 * Where the points of a strip stand across it, from -1 to 1, so that near ones do not
 * cover each other: each goes to the free place nearest to the middle. positions are along
 * the strip, in rising order, and size is what a point takes there.
 */
export function spread(positions: readonly number[], size: number, lanes = 7): number[] {
  const until = new Array<number>(lanes).fill(-Infinity);
  const middleFirst = Array.from({ length: lanes }, (_, i) => (i % 2 === 1 ? (i + 1) / 2 : -i / 2));
  return positions.map((x) => {
    let lane = until.findIndex((u) => u <= x);
    if (lane < 0) lane = until.indexOf(Math.min(...until));
    until[lane] = x + size;
    return middleFirst[lane]! / Math.max(1, (lanes - 1) / 2);
  });
}
