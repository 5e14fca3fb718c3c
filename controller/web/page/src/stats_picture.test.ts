import { expect, test } from 'vitest';
import type { PhaseStatistics } from './data';
import { figuresOf } from './stats';
import { counted } from './stats_math';
import { intervalWords, placing } from './stats_picture';

function statistics(p: Partial<PhaseStatistics>): PhaseStatistics {
  return {
    name: 'connect.blocked', meaning: '', end: -1, variant: '', n: 0, min: 0, median: 0, p90: 0, p99: 0, max: 0,
    low: 0, high: 0, confidence: 0, err: null, warnings: [], values: [], ...p,
  };
}

test('too few values have no interval, and none is made up', () => {
  const few = statistics({ n: 3, min: 1_000, median: 2_000, p90: 3_000, p99: 3_000, max: 3_000, err: 0 });
  expect(intervalWords(few)).toBe('median 2 µs');
  expect(figuresOf(few)[2]).toBe('');
  const enough = { ...few, n: 9, low: 1_000, high: 3_000, confidence: 0.95 };
  expect(intervalWords(enough)).toBe('median 2 µs, between 1 µs and 3 µs with 95 %');
  expect(figuresOf(enough)[2]).toBe('1 µs … 3 µs');
});

test('where no value counts there are no figures', () => {
  const none = statistics({ values: [{ repetition: 1, connection: 1, ns: 5_000, err: null }] });
  expect(intervalWords(none)).toBe('no values that count');
  expect(figuresOf(none).join('')).toBe('');
});

test('figures rest on what something ties', () => {
  const [tied, untied] = [{ repetition: 1, connection: 1, ns: 5, err: 2 }, { repetition: 2, connection: 1, ns: 9_000, err: null }];
  expect(counted([tied, untied])).toEqual([tied]);
});

test('each length has a place, on a logarithmic scale too', () => {
  const place = placing(10, 10_000, 12, 400);
  for (const ns of [-5, 0, 1, 10, 10_000]) expect(place(ns)).not.toBeNaN();
  expect(place(0)).toBe(12);
  expect(place(10_000)).toBeCloseTo(384);
});
