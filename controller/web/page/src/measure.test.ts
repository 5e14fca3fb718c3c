import { expect, test } from 'vitest';
import type { Arrow, Bracket, Moment, Repetition, Run } from './data';
import { areaOf, distance } from './measure';

const run = { hosts: [{ name: 'A' }, { name: 'B' }] } as Run;

function moment(m: Partial<Moment>): Moment {
  return {
    event: 0, host: 0, kind: 'call', edge: 'at', at: 0, err: 0, local: 0, reading: 0, connection: 1, lane: '', call: '', flags: '', text: '', row: 0, arrow: -1, bracket: -1, ...m,
  };
}

function repetition(moments: Moment[], arrows: Partial<Arrow>[] = [], brackets: Partial<Bracket>[] = []): Repetition {
  return { moments, layout: { arrows, brackets } } as unknown as Repetition;
}

test('one clock is exact', () => {
  const r = repetition([moment({ local: 1_000, at: 900 }), moment({ local: 47_213, at: 50_000 })]);
  expect(distance(run, r, 0, 1)).toEqual({ ns: 46_213, err: 0, by: 'one clock', order: 'first', doubt: '' });
  expect(distance(run, r, 1, 0)).toMatchObject({ ns: -46_213, order: 'second' });
  expect(distance(run, r, 0, 0)).toMatchObject({ ns: 0, err: 0, order: 'same' });
});

test('of a host, a packet beside a call is known within its stamp', () => {
  const call = moment({ local: 1_000 });
  const packet = moment({ kind: 'packet', local: 2_000, reading: 1_600 });
  const later = moment({ kind: 'packet', local: 9_000, reading: 1_600 });
  expect(distance(run, repetition([call, packet]), 0, 1)).toMatchObject({ ns: 1_000, err: 1_600, by: 'one clock, moved stamps', order: 'not known' });
  expect(distance(run, repetition([packet, later]), 0, 1)).toMatchObject({ ns: 7_000, err: 0, by: 'one clock' });
  const loose = { ...later, reading: 300_000 };
  expect(distance(run, repetition([packet, loose]), 0, 1)).toMatchObject({ err: 301_600, order: 'not known' });
});

test('two clocks add their errors, and do not say more than they know', () => {
  const a = moment({ at: 1_000_000 });
  const b = moment({ host: 1, at: 1_020_000, err: 38_000 });
  expect(distance(run, repetition([a, b]), 0, 1)).toMatchObject({ ns: 20_000, err: 38_000, by: 'two clocks', order: 'not known' });
  expect(distance(run, repetition([a, b]), 0, 1).doubt).toContain('not known');
  const far = moment({ host: 1, at: 3_000_000, err: 38_000 });
  expect(distance(run, repetition([a, far]), 0, 1)).toMatchObject({ err: 38_000, order: 'first', doubt: '' });
  const untied = moment({ host: 1, err: null });
  expect(distance(run, repetition([a, untied]), 0, 1)).toMatchObject({ ns: NaN, err: null, doubt: 'nothing ties the clocks of A and B' });
});

test("a packet's two ends are as far apart as the packet says", () => {
  const r = repetition([moment({ kind: 'packet', at: 0 }), moment({ kind: 'packet', host: 1, at: 20_000, err: 90_000 })], [{ delayed: true, left: 0, came: 1, delay: 20_500, delayErr: 400 }]);
  expect(distance(run, r, 0, 1)).toMatchObject({ ns: 20_500, err: 400, by: 'the packet itself', order: 'first' });
  expect(distance(run, r, 1, 0)).toMatchObject({ ns: -20_500, order: 'second' });
});

test('a clock that stood still in between tells only the least', () => {
  const r = repetition([moment({ local: 0 }), moment({ kind: 'clock', local: 5, text: 'A was suspended for about 3 s' }), moment({ local: 10 })]);
  expect(distance(run, r, 0, 2)).toMatchObject({ ns: 10, err: null });
  expect(distance(run, r, 0, 2).doubt).toContain('suspended');
});

test('what lies in an area is counted by where it begins', () => {
  const r = repetition(
    [
      moment({ at: 10, local: 10, edge: 'enter', bracket: 0 }), moment({ at: 20, event: 1, kind: 'packet', flags: 'SYN' }),
      moment({ at: 30, event: 2, kind: 'packet', flags: 'SYN', host: 1 }), moment({ at: 500, local: 500, edge: 'return', bracket: 0, connection: 2 }),
    ],
    [{ delayed: true, left: 1, came: 2, delay: 10, delayErr: 3, words: ['SYN'] }],
    [{ from: 0, to: 3, took: 490, lab: false }],
  );
  const a = areaOf(r, 0, 100, 0);
  expect(a.moments).toBe(3);
  expect(a.calls).toEqual({ n: 1, min: 490, median: 490, max: 490, err: 0 });
  expect(a.packets).toEqual({ n: 1, min: 10, median: 10, max: 10, err: 3 });
  expect([...a.flags]).toEqual([['SYN', 1]]);
  expect(areaOf(r, 400, 600, 1).moments).toBe(0);
  expect(areaOf(r, 400, 600, 2).moments).toBe(1);
});

test('calls that share a bracket are counted and timed one by one', () => {
  const pair = (event: number, at: number, took: number, bracket: number) => [
    moment({ event, at, local: at, edge: 'enter', bracket }), moment({ event, at: at + took, local: at + took, edge: 'return', bracket }),
  ];
  const r = repetition(
    [...pair(0, 0, 5, 0), ...pair(1, 100, 7, 0), ...pair(2, 200, 9, 0), ...pair(3, 300, 50, 1), moment({ event: 4, at: 400, edge: 'enter', bracket: 2 })],
    [], [{ calls: 3, took: 209, lab: false }, { calls: 1, took: 50, lab: true }, { calls: 1, took: 0, lab: false }],
  );
  expect(areaOf(r, 0, 1_000, 0).calls).toEqual({ n: 3, min: 5, median: 7, max: 9, err: 0 });
  expect(areaOf(r, 50, 150, 0).calls).toEqual({ n: 1, min: 7, median: 7, max: 7, err: 0 });
});
