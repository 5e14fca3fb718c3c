import { describe, expect, test } from 'vitest';
import { type Box, clipLine, columns, fitText, fitWords, Placed } from './pack';
import { chance } from './testing';

test('what is placed does not overlap', () => {
  const random = chance(5);
  const placed = new Placed();
  const taken: Box[] = [];
  for (let i = 0; i < 2000; i++) {
    const box = { x: random() * 500, y: random() * 4000 - 500, w: 10 + random() * 90, h: 5 + random() * 60 };
    const free = taken.every((o) => box.x >= o.x + o.w || o.x >= box.x + box.w || box.y >= o.y + o.h || o.y >= box.y + box.h);
    expect(placed.take(box)).toBe(free);
    if (free) taken.push(box);
  }
  expect(taken.length).toBeGreaterThan(50);
});

describe('columns', () => {
  test('intervals of one column do not overlap, and no column is empty', () => {
    const random = chance(9);
    for (let round = 0; round < 100; round++) {
      const list = Array.from({ length: 1 + Math.floor(random() * 20) }, () => {
        const from = Math.floor(random() * 30);
        return { from, to: from + Math.floor(random() * 10) };
      });
      const { column, count } = columns(list, Infinity);
      list.forEach((a, i) => list.forEach((b, j) => {
        if (i < j && column[i] === column[j]) {
          expect(a.to <= b.from || b.to <= a.from || a.from === b.from).toBe(true);
        }
      }));
      expect(new Set(column).size).toBe(count);
    }
  });

  test('beyond the most the last is shared', () => {
    const list = [0, 1, 2, 3].map((i) => ({ from: i, to: 10 }));
    expect(columns(list, 2)).toEqual({ column: [0, 1, 1, 1], count: 2 });
  });
});

test('words are dropped from the end', () => {
  expect(fitWords(['SYN', 's0', 'mss1460'], 8)).toBe('SYN s0');
  expect(fitWords(['SYN', 's0'], 2)).toBe('');
  expect(fitText('connect B:8080', 9)).toBe('connect…');
  expect(fitText('connect', 7)).toBe('connect');
  expect(fitText('connect', 1)).toBe('');
});

test('a clipped line is the part of it that is inside', () => {
  expect(clipLine(0, 0, 10, 100, 20, 60)).toEqual([2, 20, 6, 60]);
  expect(clipLine(10, 100, 0, 0, 20, 60)).toEqual([6, 60, 2, 20]);
  expect(clipLine(0, 30, 10, 30, 20, 60)).toEqual([0, 30, 10, 30]);
  expect(clipLine(0, 0, 10, 10, 20, 60)).toBeNull();
  const far = clipLine(0, -1e12, 100, 1e12, 0, 900)!;
  expect(far[1]).toBe(0);
  expect(far[3]).toBe(900);
  expect(far[0]).toBeCloseTo(50, 6);
});
