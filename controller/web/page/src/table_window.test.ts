import { expect, test } from 'vitest';
import { scrollTo, tallest, windowOf } from './table_window';

test('the rows in sight are there, and few more', () => {
  expect(windowOf(0, 240, 100_000, 24)).toMatchObject({ first: 0, last: 18, top: 0, height: 2_400_000 });
  expect(windowOf(2_400, 240, 100_000, 24)).toMatchObject({ first: 92, last: 118, top: 92 * 24 });
  expect(windowOf(1e9, 240, 100_000, 24)).toMatchObject({ last: 100_000 });
  expect(windowOf(0, 240, 0, 24)).toEqual({ first: 0, last: 0, top: 0, height: 0 });
});

test('a table that no browser can hold is scrolled in proportion, to its very end', () => {
  const count = 2_000_000;
  const end = windowOf(tallest, 240, count, 24);
  expect(end.height).toBe(tallest);
  expect(end.last).toBe(count);
  // The last row ends where the sheet ends.
  expect(end.top + (count - end.first) * 24).toBeCloseTo(tallest);
  const middle = windowOf((tallest - 240) / 2, 240, count, 24);
  expect(middle.first).toBeGreaterThan(count / 2 - 30);
  expect(middle.last).toBeLessThan(count / 2 + 30);
});

test('what is scrolled to is in sight as a whole, and nothing moves that need not', () => {
  for (const count of [10, 5_000, 2_000_000]) {
    for (const row of [0, 1, Math.floor(count / 2), count - 1]) {
      const at = scrollTo(row, 0, 240, count, 24);
      const w = windowOf(at, 240, count, 24, 0);
      expect(row).toBeGreaterThanOrEqual(w.first);
      expect(row).toBeLessThan(w.last);
      const y = w.top + (row - w.first) * 24 - at;
      expect(y).toBeGreaterThanOrEqual(-0.01);
      expect(y).toBeLessThanOrEqual(240 - 24 + 0.01);
      expect(scrollTo(row, at, 240, count, 24)).toBeCloseTo(at);
    }
  }
});
