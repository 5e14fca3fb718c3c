/** Which moments of two repetitions are the same step of the story, and what is different. */
import type { Moment, Repetition, Run } from './data';

/** A line of the comparison: a step that both have, or only one of them. */
export interface Line {
  /** Indices of moments, -1 where the repetition has no such step. */
  readonly a: number;
  readonly b: number;
}

/**
 * The most steps of one host that are compared. Two of that length that have nothing in
 * common take a second; longer ones are cut there, and the view says so.
 */
export const longest = 4000;

/** A comparison of two repetitions. */
export interface Comparison {
  readonly lines: readonly Line[];
  /** How many moments were left out because a host has more than `longest`. */
  readonly left: number;
  /** Hosts whose steps have too little in common: past the beginning theirs are all gone or new. */
  readonly unlike: readonly string[];
}

/**
 * Compares step by step, each host for itself: of two hosts nobody may know which was
 * first, but each has an order of its own. Lines are in the order of the first repetition.
 */
export function compare(runA: Run, a: Repetition, runB: Run, b: Repetition): Comparison {
  const ofA = byHost(runA, a);
  const ofB = byHost(runB, b);
  const lines: Line[] = [];
  let left = 0;
  const unlike: string[] = [];
  for (const host of new Set([...ofA.keys(), ...ofB.keys()])) {
    const x = ofA.get(host) ?? [];
    const y = ofB.get(host) ?? [];
    left += Math.max(0, x.length - longest) + Math.max(0, y.length - longest);
    const [p, q] = [x.slice(0, longest), y.slice(0, longest)];
    const pairs = align(p.map((m) => m.key), q.map((m) => m.key));
    // A way that was found has at most so many changes.
    if (pairs.filter(([i, j]) => i < 0 || j < 0).length > mostChanges) unlike.push(host);
    for (const [i, j] of pairs) {
      lines.push({ a: i < 0 ? -1 : p[i]!.moment, b: j < 0 ? -1 : q[j]!.moment });
    }
  }
  return { lines: inOrder(lines, a, b), left, unlike };
}

interface Step {
  readonly moment: number;
  readonly key: string;
}

function byHost(run: Run, r: Repetition): Map<string, Step[]> {
  const hosts = new Map<string, Step[]>();
  r.moments.forEach((m, i) => {
    // What is not in the ladder is no step of the story: samples, marks, ARP of others.
    if (m.row < 0) return;
    const name = run.hosts[m.host]?.name ?? `host ${m.host}`;
    const steps = hosts.get(name);
    const step = { moment: i, key: keyOf(r, m, i) };
    if (steps === undefined) hosts.set(name, [step]);
    else steps.push(step);
  });
  return hosts;
}

/** What makes a moment the same step in another repetition: not its time, not its ports. */
function keyOf(r: Repetition, m: Moment, i: number): string {
  if (m.kind === 'call') {
    const bracket = r.layout.brackets[m.bracket];
    return `${m.lane}.${m.call} ${m.edge} ${m.edge === 'return' ? (bracket?.result ?? '').replace(/fd \d+/, 'fd') : ''}`;
  }
  const arrow = r.layout.arrows[m.arrow];
  if (arrow !== undefined) return `${arrow.left === i ? 'leaves' : 'arrives'} ${arrow.from}>${arrow.to} ${arrow.words.join(' ')} ${arrow.lost ? 'lost' : ''}`;
  return `${m.kind} ${m.text.replace(/\d+/g, '#')}`;
}

/**
 * The shortest way from one list to the other (Myers 1986): pairs of indices, -1 on the
 * side that lacks the step.
 */
export function align(a: readonly string[], b: readonly string[]): [number, number][] {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const pairs: [number, number][] = [];
  for (let i = 0; i < head; i++) pairs.push([i, i]);
  for (const [i, j] of shortest(a.slice(head, a.length - tail), b.slice(head, b.length - tail))) {
    pairs.push([i < 0 ? -1 : i + head, j < 0 ? -1 : j + head]);
  }
  for (let k = tail; k > 0; k--) pairs.push([a.length - k, b.length - k]);
  return pairs;
}

/**
 * The most steps that are gone or new in a host's comparison. What is remembered on the way
 * grows with its square: 16 MB at this. Lists that differ more have no story in common.
 */
export const mostChanges = 2000;

/**
 * The shortest way, if it has at most mostChanges. Else, past what was reached with so many
 * from both lists' start, what the first list has is gone and what the second has is new.
 */
function shortest(a: readonly string[], b: readonly string[]): [number, number][] {
  const [n, m] = [a.length, b.length];
  const most = Math.min(n + m, mostChanges);
  const reach = new Int32Array(2 * most + 2);
  const history: Int32Array[] = [];
  for (let d = 0; d <= most; d++) {
    // Of what was reached with d changes, only the diagonals -d..d matter.
    history.push(reach.slice(most - d, most + d + 2));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || k !== d && reach[most + k - 1]! < reach[most + k + 1]!;
      let x = down ? reach[most + k + 1]! : reach[most + k - 1]! + 1;
      while (x < n && x - k < m && a[x] === b[x - k]) x++;
      reach[most + k] = x;
      if (x >= n && x - k >= m) return backtrack(history, n, m);
    }
  }
  // The farthest that was reached; what is left of both stands alone.
  let [x, y] = [0, 0];
  for (let k = -most; k <= most; k += 2) {
    const [u, v] = [reach[most + k]!, reach[most + k]! - k];
    if (u <= n && v <= m && u + v > x + y) [x, y] = [u, v];
  }
  const rest: [number, number][] = [];
  for (let i = x; i < n; i++) rest.push([i, -1]);
  for (let j = y; j < m; j++) rest.push([-1, j]);
  return [...backtrack(history, x, y), ...rest];
}

function backtrack(history: readonly Int32Array[], n: number, m: number): [number, number][] {
  const pairs: [number, number][] = [];
  let [x, y] = [n, m];
  for (let d = history.length - 1; d > 0; d--) {
    const reach = history[d]!;
    const at = (k: number) => reach[k + d]!;
    const k = x - y;
    const down = k === -d || k !== d && at(k - 1) < at(k + 1);
    const before = down ? k + 1 : k - 1;
    const fromX = at(before);
    const fromY = fromX - before;
    while (x > fromX && y > fromY && x > 0 && y > 0 && (down ? x > fromX : x > fromX + 1)) pairs.push([--x, --y]);
    if (down) pairs.push([-1, --y]);
    else pairs.push([--x, -1]);
  }
  while (x > 0 && y > 0) pairs.push([--x, --y]);
  return pairs.reverse();
}

/** By the time of the first repetition; what only the second has, by its own. */
function inOrder(lines: readonly Line[], a: Repetition, b: Repetition): Line[] {
  const at = (l: Line) => (l.a >= 0 ? a.moments[l.a]!.at : b.moments[l.b]!.at);
  return [...lines].sort((p, q) => at(p) - at(q) || p.a - q.a || p.b - q.b);
}
