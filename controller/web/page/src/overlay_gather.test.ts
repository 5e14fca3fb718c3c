import { expect, test } from 'vitest';
import type { Overview, Repetition } from './data';
import { Latest } from './latest';
import { gather } from './overlay';

const overviews = (...n: number[]): Overview[] => n.map((i) => ({ n: i }) as Overview);
const repetition = (n: number): Repetition => ({ n, ruling: 'pass', moments: [], layout: { arrows: [] } }) as unknown as Repetition;
const turn = (): Promise<void> => new Promise((done) => setTimeout(done));

test('what is asked for again gets none of what the older question still brings', async () => {
  const latest = new Latest();
  let answer = (_: Repetition): void => {};
  const told: number[][] = [];
  const tell = async (all: readonly { repetition: number }[]): Promise<void> => { told.push(all.map((t) => t.repetition)); };
  // The same choice twice, with another in between: the first is still waiting when the last is done.
  const first = gather(overviews(1, 2), (o) => (o.n === 1 ? new Promise((done) => { answer = done; }) : Promise.resolve(repetition(o.n))), latest.ask(), tell);
  const second = gather(overviews(3), async () => repetition(3), latest.ask(), tell);
  const third = gather(overviews(1, 2), async (o) => repetition(o.n), latest.ask(), tell);
  expect((await third)?.traces.map((t) => t.repetition)).toEqual([1, 2]);
  expect(await second).toBeNull();
  answer(repetition(1));
  expect(await first).toBeNull();
  await turn();
  expect(told).toEqual([[1]]);
});

test('a failure is told with what was there, unless something else is wanted by then', async () => {
  const latest = new Latest();
  const broken = new Error('a block is damaged');
  const read = async (o: Overview): Promise<Repetition> => {
    if (o.n === 2) throw broken;
    return repetition(o.n);
  };
  const done = await gather(overviews(1, 2, 3), read, latest.ask(), async () => {});
  expect(done?.failed).toEqual({ n: 2, error: broken });
  expect(done?.traces).toHaveLength(1);
  const late = gather(overviews(1, 2, 3), read, latest.ask(), async () => {});
  latest.ask();
  expect(await late).toBeNull();
});
