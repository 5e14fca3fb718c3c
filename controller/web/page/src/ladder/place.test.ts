import { describe, expect, test } from 'vitest';
import { evenRuns, first, type Knot, moveWith, openFolds, Places, tickStep } from './place';
import { chance } from './testing';

/** Knots of any kind: also of one time at two places. */
function knots(random: () => number): { knots: Knot[]; folded: number[] } {
  const list: Knot[] = [];
  const folded: number[] = [];
  let [at, place] = [Math.floor(random() * 1e6) - 5e5, 0];
  for (let i = 0, n = 2 + Math.floor(random() * 12); i < n; i++) {
    list.push({ at, place });
    folded.push(random() < 0.25 ? 1 : 0);
    const sameTime = random() < 0.2;
    at += sameTime ? 0 : 1 + Math.floor(random() ** 4 * 1e9);
    place += 0.01 + random() * 3;
  }
  return { knots: list, folded };
}

describe('Places', () => {
  test('later is never above, and back is there again', () => {
    const random = chance(7);
    for (let round = 0; round < 300; round++) {
      const p = new Places(knots(random).knots);
      const [from, to] = [p.knots[0]!.at, p.knots.at(-1)!.at];
      let before = -Infinity;
      for (let i = 0; i <= 40; i++) {
        const at = from + ((to - from) * i) / 40;
        const place = p.of(at);
        expect(place).toBeGreaterThanOrEqual(before - 1e-9);
        before = place;
        expect(Math.abs(p.at(place) - at)).toBeLessThanOrEqual(1e-6 * (to - from) + 1e-3);
      }
    }
  });

  test('a time with two places has the first', () => {
    const p = new Places([{ at: 0, place: 0 }, { at: 5, place: 1 }, { at: 5, place: 3 }, { at: 9, place: 4 }]);
    expect(p.of(5)).toBe(1);
    expect(p.at(2)).toBe(5);
    expect(p.at(3)).toBe(5);
  });

  test('goes on beyond its ends', () => {
    const p = new Places([{ at: 0, place: 0 }, { at: 10, place: 2 }]);
    expect(p.of(-5)).toBe(-1);
    expect(p.of(20)).toBe(4);
    expect(p.at(4)).toBe(20);
    expect(p.at(-1)).toBe(-5);
  });

  test('refuses a scale that falls', () => {
    expect(() => new Places([{ at: 0, place: 1 }, { at: 1, place: 0 }])).toThrow('the scale falls');
  });

  test('is 0 of nothing', () => {
    const p = new Places([]);
    expect([p.of(7), p.at(7), p.length]).toEqual([0, 0, 0]);
  });
});

describe('folds', () => {
  test('opening one stretches it alone', () => {
    const k = [{ at: 0, place: 0 }, { at: 10, place: 10 }, { at: 1010, place: 12 }, { at: 1020, place: 22 }];
    const open = openFolds(k, [0, 1, 0, 0], new Set([1]));
    expect(open.map((q) => q.place)).toEqual([0, 10, 1010, 1020]);
    expect(openFolds(k, [0, 1, 0, 0], new Set([1]), 24).map((q) => q.place)).toEqual([0, 10, 34, 44]);
    expect(openFolds(k, [0, 1, 0, 0], new Set())).toEqual(k);
  });

  test('nothing is nearer than before, and places between knots move with them', () => {
    const random = chance(11);
    for (let round = 0; round < 200; round++) {
      const { knots: k, folded } = knots(random);
      const open = new Set(folded.flatMap((f, i) => (f === 1 && random() < 0.5 ? [i] : [])));
      const moved = openFolds(k, folded, open);
      for (let i = 1; i < k.length; i++) {
        expect(moved[i]!.place - moved[i - 1]!.place).toBeGreaterThanOrEqual(k[i]!.place - k[i - 1]!.place - 1e-9);
        const middle = moveWith(k, moved, (k[i]!.place + k[i - 1]!.place) / 2);
        expect(middle).toBeCloseTo((moved[i]!.place + moved[i - 1]!.place) / 2, 6);
        expect(moveWith(k, moved, k[i]!.place)).toBeCloseTo(moved[i]!.place, 6);
      }
    }
  });
});

describe('ticks', () => {
  test('steps are 1, 2 or 5 times a power of ten, and at least as far apart as asked', () => {
    for (let e = -2; e < 9; e++) {
      for (const f of [1, 1.7, 2.3, 4.9, 7.7]) {
        const step = tickStep(f * 10 ** e, 30);
        expect(step).toBeGreaterThanOrEqual(Math.max(1, f * 10 ** e * 30) * 0.999);
        expect([1, 2, 5]).toContain(Math.round(step / 10 ** Math.floor(Math.log10(step) + 1e-9)));
      }
    }
  });

  test('pieces of one slope are one stretch', () => {
    const k = [{ at: 0, place: 0 }, { at: 1, place: 1 }, { at: 2, place: 2 }, { at: 2, place: 5 }, { at: 4, place: 7 }, { at: 99, place: 9 }, { at: 100, place: 10 }];
    const runs = evenRuns(k, 0, 100, (i) => i === 4);
    expect(runs.map(([p, q]) => [p.place, q.place])).toEqual([[0, 2], [5, 7], [9, 10]]);
  });
});

test('first finds the smallest', () => {
  for (let n = 0; n < 9; n++) {
    for (let at = 0; at <= n; at++) {
      expect(first(n, (i) => i >= at)).toBe(at);
    }
  }
});
