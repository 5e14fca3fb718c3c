import { expect, test } from 'vitest';
import { fixed, fixedError, groupedNanoseconds, plusMinus, span } from './time';

test('lengths are written as the terminal writes them', () => {
  const cases: [number, string][] = [
    [0, '0 ns'], [380, '380 ns'], [999, '999 ns'], [1000, '1 µs'], [3149, '3.1 µs'], [9949, '9.9 µs'], [9950, '10 µs'], [123_456, '123 µs'],
    [999_499, '999 µs'], [999_500, '1 ms'], [40_140_000, '40.14 ms'], [999_994_999, '999.99 ms'], [1_003_400_000, '1.003 s'], [-5000, '−5 µs'], [200, '200 ns'],
  ];
  for (const [ns, text] of cases) {
    expect(span(ns)).toBe(text);
  }
});

test('an error is rounded up: what is shown holds the truth', () => {
  expect(plusMinus(38_010)).toBe('±38 µs');
  expect(plusMinus(1_801)).toBe('±1.9 µs');
  expect(plusMinus(null)).toBe('±?');
  expect(plusMinus(0)).toBe('±0');
  expect(fixedError(38_001, 1e6, 3)).toBe('±.039');
  expect(fixedError(null, 1e6, 3)).toBe('±?');
  expect(fixed(-1_734_400, 1e6, 3)).toBe('−1.734');
});

test('own times are exact', () => {
  expect(groupedNanoseconds('59622405036270')).toBe('59622.405 036 270 s');
  expect(groupedNanoseconds('7')).toBe('0.000 000 007 s');
  expect(groupedNanoseconds('-1000000001')).toBe('−1.000 000 001 s');
});
