import { expect, test } from 'vitest';
import type { View } from './app';
import { readHash, startView, writeHash } from './hash';

const start = startView(0, 17);

test('a link holds the view', () => {
  const views: Partial<View>[] = [
    {}, { repetition: 3, selected: 0, pinned: 5 }, { run: 1, repetition: 17 }, { filter: 'host:A & x=1#2 ü', filterMode: 'hide' },
    { scale: 'log', times: 'raw', form: 'table', panel: '' }, { range: [-1500, 20_000_000], connection: 2, mark: 4, origin: 9, compare: '1:3' },
    { layers: { calls: false, packets: true, states: true, notes: false, lab: true } },
  ];
  for (const v of views) {
    const view = { ...start, ...v };
    expect(readHash(`#${writeHash(view, start)}`, start)).toEqual(view);
  }
  expect(writeHash(start, start)).toBe('');
});

test('what makes no sense is as at the start', () => {
  for (const hash of ['#', '#run=-1&rep=x&conn=1e9&at=0x1', '#scale=cubic&times=&form=3d&rest=', '#range=5..1', '#range=9', '#run=0', '#panel=<script>', '#%']) {
    expect(readHash(hash, start)).toEqual(start);
  }
});
