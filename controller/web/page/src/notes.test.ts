import { expect, test } from 'vitest';
import type { Cause } from './data';
import { chainOf, effectsOf } from './notes';

function cause(effect: number, by: number): Cause {
  return { effect, by, rule: `${by} makes ${effect}`, sources: [], known: by < 0 ? 'none known' : 'observed', ordered: true, why: '' };
}

test('a chain goes back to what nothing explains', () => {
  const causes = [cause(3, 2), cause(2, 1), cause(1, -1), cause(4, 2)];
  expect(chainOf(causes, 3).map((c) => c.by)).toEqual([2, 1, -1]);
  expect(chainOf(causes, 9)).toEqual([]);
  expect(effectsOf(causes, 2).map((c) => c.effect)).toEqual([3, 4]);
});

test('data that go round in a circle do not hang the page', () => {
  expect(chainOf([cause(1, 2), cause(2, 1)], 1)).toHaveLength(2);
});
