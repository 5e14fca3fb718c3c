/** How far apart two moments are, and how sure that is. */
import type { Moment, Repetition, Run } from './data';

/** The time from one moment to another. */
export interface Distance {
  /** Nanoseconds; negative if the second is the earlier one. NaN if nothing ties the clocks. */
  readonly ns: number;
  /** It is surely right within this; null if nothing bounds it. */
  readonly err: number | null;
  /**
   * What it rests on: one clock's own readings; one clock, and packets' stamps that were
   * moved to it; two clocks; or, of an arrow's two ends, the arrow's own delay.
   */
  readonly by: 'one clock' | 'one clock, moved stamps' | 'two clocks' | 'the packet itself';
  /** Which of the two was first, if that is sure. */
  readonly order: 'first' | 'second' | 'same' | 'not known';
  /** What a person must know of it; empty if nothing. */
  readonly doubt: string;
}

/**
 * From when on, in nanoseconds, the stamps of packets do not even tell their own distance:
 * they were moved over a step of the clock that they are of.
 */
const loose = 100_000;

/**
 * The distance from moment a to moment b. Of one host its own clock tells, exactly but for
 * packets beside something else: their stamps are of CLOCK_REALTIME. Of two hosts the
 * errors of both add up.
 */
export function distance(run: Run, r: Repetition, a: number, b: number): Distance {
  const from = r.moments[a];
  const to = r.moments[b];
  if (from === undefined || to === undefined) throw new Error(`no moments ${a} and ${b}: the repetition has ${r.moments.length}`);
  if (from.host === to.host) return ofOneHost(r, from, to);
  const arrow = r.layout.arrows.find((w) => w.delayed && (w.left === a && w.came === b || w.left === b && w.came === a));
  if (arrow) return told(arrow.left === a ? arrow.delay : -arrow.delay, arrow.delayErr, 'the packet itself');
  if (from.err === null || to.err === null) {
    return { ns: NaN, err: null, by: 'two clocks', order: 'not known', doubt: `nothing ties the clocks of ${hostName(run, from)} and ${hostName(run, to)}` };
  }
  return told(to.at - from.at, from.err + to.err, 'two clocks');
}

function ofOneHost(r: Repetition, from: Moment, to: Moment): Distance {
  const ns = to.local - from.local;
  const sameSource = (from.kind === 'packet') === (to.kind === 'packet');
  const exact = sameSource && from.reading < loose && to.reading < loose;
  const err = exact ? 0 : from.reading + to.reading;
  const d = told(ns, err, exact ? 'one clock' : 'one clock, moved stamps');
  if (!stoodStill(r, from, to)) return d;
  return { ...d, err: null, doubt: 'the host was suspended in between, and its clock stood still: it was at least this long' };
}

function told(ns: number, err: number, by: Distance['by']): Distance {
  let order: Distance['order'] = 'not known';
  if (ns - err > 0) order = 'first';
  else if (ns + err < 0) order = 'second';
  else if (ns === 0 && err === 0) order = 'same';
  return { ns, err, by, order, doubt: order === 'not known' ? 'the ± is larger than the difference: which was first is not known from the clocks' : '' };
}

/** Reports whether a suspend of their host is on record between two moments of it. */
function stoodStill(r: Repetition, a: Moment, b: Moment): boolean {
  const low = Math.min(a.local, b.local);
  const high = Math.max(a.local, b.local);
  return r.moments.some((m) => m.host === a.host && m.kind === 'clock' && m.local > low && m.local < high && m.text.includes('suspended'));
}

function hostName(run: Run, m: Moment): string {
  return run.hosts[m.host]?.name ?? `host ${m.host}`;
}

/** What lies in a part of the timeline. */
export interface Area {
  readonly from: number;
  readonly to: number;
  readonly moments: number;
  readonly calls: Spread;
  readonly packets: Spread;
  /** How many packets were sent in it, of each kind by its flags. */
  readonly flags: ReadonlyMap<string, number>;
}

/** Lengths of time of one sort: how many, and how long. */
export interface Spread {
  readonly n: number;
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** Half-width of the widest of them; null if nothing bounds one. */
  readonly err: number | null;
}

/** Counts what begins between two times: calls by how long they took, packets by their delay. */
export function areaOf(r: Repetition, from: number, to: number, connection: number): Area {
  const inside = (i: number) => {
    const m = r.moments[i];
    return m !== undefined && m.at >= from && m.at <= to && (connection === 0 || m.connection === 0 || m.connection === connection);
  };
  const delays: number[] = [];
  const flags = new Map<string, number>();
  let worst: number | null = 0;
  for (const w of r.layout.arrows) {
    const first = w.left >= 0 ? w.left : w.came;
    if (!inside(first)) continue;
    const name = r.moments[first]!.flags || (w.words[0] ?? '?');
    flags.set(name, (flags.get(name) ?? 0) + 1);
    if (!w.delayed) continue;
    delays.push(w.delay);
    worst = Math.max(worst ?? 0, w.delayErr);
  }
  let moments = 0;
  // A bracket may stand for several calls in a row: each is timed by its own entry and return.
  const calls: number[] = [];
  const entered = new Map<number, Moment>();
  r.moments.forEach((m, i) => {
    if (inside(i)) moments++;
    const b = r.layout.brackets[m.bracket];
    if (m.kind !== 'call' || b === undefined || b.lab) return;
    const entry = entered.get(m.event);
    if (m.edge === 'enter' && inside(i)) entered.set(m.event, m);
    else if (m.edge === 'return' && entry !== undefined) calls.push(m.local - entry.local);
  });
  return { from, to, moments, calls: spreadOf(calls, 0), packets: spreadOf(delays, worst), flags };
}

function spreadOf(values: number[], err: number | null): Spread {
  const v = values.sort((a, b) => a - b);
  const n = v.length;
  if (n === 0) return { n, min: NaN, median: NaN, max: NaN, err };
  const median = n % 2 === 1 ? v[(n - 1) / 2]! : (v[n / 2 - 1]! + v[n / 2]!) / 2;
  return { n, min: v[0]!, median, max: v[n - 1]!, err };
}
