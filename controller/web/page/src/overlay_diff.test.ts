import { expect, test } from 'vitest';
import type { Moment, Repetition, Run } from './data';
import { align, compare, longest, mostChanges } from './overlay_diff';

function show(a: string, b: string): string {
  return align([...a], [...b]).map(([i, j]) => (i < 0 ? `+${b[j]}` : j < 0 ? `-${a[i]}` : a[i])).join(' ');
}

test('what both have is paired, what one has stands alone', () => {
  expect(show('abcd', 'abcd')).toBe('a b c d');
  expect(show('abcd', 'axcd')).toMatch(/^a (-b \+x|\+x -b) c d$/);
  expect(show('abc', '')).toBe('-a -b -c');
  expect(show('', 'ab')).toBe('+a +b');
  expect(show('', '')).toBe('');
  // A retransmission: one SYN more, and the rest as it was.
  expect(show('csar', 'cssar')).toMatch(/^c (\+s s|s \+s) a r$/);
});

test('each step of both is there once and in order, and no way is shorter', () => {
  let seed = 7;
  const random = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
  for (let i = 0; i < 400; i++) {
    const word = () => Array.from({ length: random(14) }, () => 'abc'[random(3)]!);
    const [a, b] = [word(), word()];
    const pairs = align(a, b);
    expect(pairs.filter(([x]) => x >= 0).map(([x]) => x)).toEqual(a.map((_, k) => k));
    expect(pairs.filter(([, y]) => y >= 0).map(([, y]) => y)).toEqual(b.map((_, k) => k));
    for (const [x, y] of pairs) if (x >= 0 && y >= 0) expect(a[x]).toBe(b[y]);
    expect(pairs.filter(([x, y]) => x >= 0 && y >= 0).length).toBe(longestCommon(a, b));
  }
});

function longestCommon(a: readonly string[], b: readonly string[]): number {
  const t = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) t[i]![j] = a[i - 1] === b[j - 1] ? t[i - 1]![j - 1]! + 1 : Math.max(t[i - 1]![j]!, t[i]![j - 1]!);
  }
  return t[a.length]![b.length]!;
}

test('lists that have little in common are aligned in bounded memory, each step once', () => {
  const a = Array.from({ length: longest }, (_, i) => (i < 500 && i % 2 === 0 ? 'x' : `a${i}`));
  const b = Array.from({ length: longest }, (_, i) => (i < 500 && i % 2 === 0 ? 'x' : `b${i}`));
  const pairs = align(a, b);
  expect(pairs.filter(([i]) => i >= 0).map(([i]) => i)).toEqual(a.map((_, i) => i));
  expect(pairs.filter(([, j]) => j >= 0).map(([, j]) => j)).toEqual(b.map((_, j) => j));
  for (const [i, j] of pairs) if (i >= 0 && j >= 0) expect(a[i]).toBe(b[j]);
  expect(pairs.filter(([i, j]) => i >= 0 && j >= 0).length).toBe(250);
});

test('a comparison says of which hosts it gave up', () => {
  const run = { hosts: [{ name: 'A' }] } as unknown as Run;
  const of = (word: string, n: number) => ({
    moments: Array.from({ length: n }, (_, i) => ({ kind: 'mark', text: `${word}${'x'.repeat(i % 7)}`, row: i, host: 0, arrow: -1, bracket: -1, at: i }) as unknown as Moment),
    layout: { arrows: [], brackets: [] },
  }) as unknown as Repetition;
  expect(compare(run, of('a', mostChanges), run, of('b', mostChanges)).unlike).toEqual(['A']);
  expect(compare(run, of('a', 100), run, of('b', 100)).unlike).toEqual([]);
});
