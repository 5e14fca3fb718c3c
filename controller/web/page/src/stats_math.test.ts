import { expect, test } from 'vitest';
import { bandHalf, boxOf, distribution, quantile, spread } from './stats_math';

test('quantiles are those of R, type 7', () => {
  const v = [1, 2, 3, 4, 10];
  expect(quantile(v, 0)).toBe(1);
  expect(quantile(v, 0.5)).toBe(3);
  expect(quantile(v, 0.25)).toBe(2);
  expect(quantile(v, 0.9)).toBeCloseTo(7.6);
  expect(quantile(v, 1)).toBe(10);
  expect(quantile([7], 0.3)).toBe(7);
  expect(quantile([], 0.5)).toBeNaN();
});

test('whiskers end at values, and leave out what is far off', () => {
  expect(boxOf([1, 2, 3, 4, 100])).toEqual({ low: 1, q1: 2, median: 3, q3: 4, high: 4 });
  expect(boxOf([5])).toEqual({ low: 5, q1: 5, median: 5, q3: 5, high: 5 });
  expect(boxOf([])).toBeNull();
});

test('the band is that of Massart', () => {
  expect(bandHalf(1000)).toBeCloseTo(0.04295, 4);
  expect(bandHalf(0)).toBe(1);
});

test('the distribution rises to 1 within its band, equal values in one step', () => {
  const steps = distribution([1, 1, 2, 5]);
  expect(steps.map((s) => [s.value, s.share])).toEqual([[1, 0.5], [2, 0.75], [5, 1]]);
  for (const s of steps) {
    expect(s.low).toBeLessThanOrEqual(s.share);
    expect(s.high).toBeGreaterThanOrEqual(s.share);
    expect(s.low).toBeGreaterThanOrEqual(0);
    expect(s.high).toBeLessThanOrEqual(1);
  }
});

test('points that would cover each other stand beside each other', () => {
  const places = spread([0, 1, 2, 50], 7);
  expect(new Set(places.slice(0, 3)).size).toBe(3);
  expect(places[3]).toBeCloseTo(0);
  for (const p of places) expect(Math.abs(p)).toBeLessThanOrEqual(1);
});
