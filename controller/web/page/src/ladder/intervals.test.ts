import { expect, test } from 'vitest';
import { Intervals } from './intervals';
import { chance } from './testing';

test('finds what a look at all of them finds', () => {
  const random = chance(3);
  for (let round = 0; round < 200; round++) {
    const n = Math.floor(random() * 60);
    const from = Array.from({ length: n }, () => Math.floor(random() * 50));
    const to = from.map((f) => f + Math.floor(random() ** 3 * 40));
    const index = new Intervals(from, to);
    const [low, high] = [Math.floor(random() * 60) - 5, Math.floor(random() * 60)].sort((a, b) => a - b) as [number, number];
    const slow = from.flatMap((f, i) => (f <= high && to[i]! >= low ? [i] : []));
    const quick = index.touching(low, high);
    expect([...quick].sort((a, b) => a - b)).toEqual(slow);
    expect(quick.map((i) => from[i]!)).toEqual(quick.map((i) => from[i]!).sort((a, b) => a - b));
  }
});

test('looks at few of many', () => {
  const n = 200_000;
  const from = Float64Array.from({ length: n }, (_, i) => i);
  const index = new Intervals(from, from.map((f) => f + 2));
  expect(index.touching(100_000, 100_010)).toHaveLength(13);
  expect(new Intervals([], []).touching(0, 1)).toEqual([]);
});
