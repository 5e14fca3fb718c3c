import { expect, test } from 'vitest';
import { App, held, type Source } from './app';
import type { Page, Repetition } from './data';
import { startView } from './hash';
import { Keys } from './keys';

const start = startView(0, 1);
const r = { n: 1, moments: new Array(10).fill({}), connections: [{}] } as unknown as Repetition;

function app(source: Partial<Source> = {}): App {
  const page = { runs: [{ id: 'r-1', repetitions: [] }] } as unknown as Page;
  return new App(page, { repetition: async () => r, events: async () => [], ...source } as Source, new Keys(), start);
}

test('what a link names and the repetition lacks is not chosen', () => {
  const view = { ...start, selected: 99_999, pinned: 10, mark: 88_888, origin: 9, connection: 2 };
  expect(held(view, r)).toEqual({ ...start, origin: 9 });
});

test('a choice is held against the repetition when it comes, and when it is there', async () => {
  const a = app();
  a.set({ selected: 99_999, mark: 3 });
  a.open();
  await new Promise((done) => setTimeout(done));
  expect(a.view).toMatchObject({ selected: null, mark: 3 });
  a.set({ pinned: 10, selected: 9 });
  expect(a.view).toMatchObject({ pinned: null, selected: 9 });
});

test('a part that fails is told, and stops no other', () => {
  const a = app();
  const told: unknown[] = [];
  const heard: string[] = [];
  a.fail = (_, error) => told.push(error);
  const wrong = new Error('of one part');
  a.subscribe(() => { throw wrong; });
  a.subscribe(() => heard.push('the other'));
  a.set({ filter: 'x' });
  a.flush();
  expect(told).toEqual([wrong]);
  expect(heard).toEqual(['the other']);
});
