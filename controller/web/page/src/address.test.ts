import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Address, patience, type Place } from './address';

/** An address that a test opens links in. What browsers do in a later turn, the test does when it wants. */
class Bar implements Place {
  hash = '';
  readonly written: string[] = [];
  told: (event: 'popstate' | 'hashchange') => void = () => {};

  read(): string {
    return this.hash;
  }

  write(hash: string): void {
    if (hash === 'refused') throw new Error('the browser refuses it');
    this.written.push(hash);
    this.hash = hash;
  }

  listen(told: (event: 'popstate' | 'hashchange') => void): void {
    this.told = told;
  }
}

let bar: Bar;
let address: Address;
let view: string;
let failures: unknown[];

beforeEach(() => {
  vi.useFakeTimers();
  bar = new Bar();
  view = '';
  failures = [];
  address = new Address(bar, {
    chosen: () => view,
    opened: (hash) => { view = hash; address.later(); },
    failed: (error) => failures.push(error),
  });
});

afterEach(() => {
  vi.useRealTimers();
});

function choose(what: string): void {
  view = what;
  address.later();
}

test('what is chosen in a short time is written once', () => {
  choose('at=1');
  vi.advanceTimersByTime(patience - 1);
  choose('at=2');
  expect(bar.written).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(bar.written).toEqual(['at=2']);
  vi.runAllTimers();
  expect(bar.written).toEqual(['at=2']);
});

test('a link that is opened right after a choice holds, whichever event tells of it first', () => {
  for (const [i, events] of ([['popstate', 'hashchange'], ['hashchange'], ['hashchange', 'popstate']] as const).entries()) {
    const link = `at=${7 + i}`;
    choose('at=1');
    vi.advanceTimersByTime(patience - 1);
    bar.hash = link;
    for (const event of events) bar.told(event);
    vi.runAllTimers();
    expect([bar.hash, view]).toEqual([link, link]);
  }
});

test('a write that comes between a link and its event leaves the link', () => {
  choose('at=1');
  bar.hash = 'at=7';
  vi.advanceTimersByTime(10 * patience);
  expect([bar.hash, view]).toEqual(['at=7', 'at=1']);
  bar.told('hashchange');
  vi.runAllTimers();
  expect([bar.hash, view]).toEqual(['at=7', 'at=7']);
});

test('of two links the second holds, though the event of the first comes after it', () => {
  bar.hash = 'at=7';
  bar.hash = 'at=8';
  bar.told('hashchange');
  bar.told('hashchange');
  vi.runAllTimers();
  expect([bar.hash, view]).toEqual(['at=8', 'at=8']);
});

test('what is chosen after a link was heard of is written, and the late event does not take it back', () => {
  bar.hash = 'at=7';
  bar.told('popstate');
  choose('at=9');
  bar.told('hashchange');
  vi.runAllTimers();
  expect([bar.hash, view]).toEqual(['at=9', 'at=9']);
});

test('the same link opened again undoes what was chosen since', () => {
  bar.hash = 'at=7';
  bar.told('popstate');
  vi.runAllTimers();
  choose('at=9');
  // No hashchange: the address is the same.
  bar.told('popstate');
  vi.runAllTimers();
  expect([bar.hash, view]).toEqual(['at=7', 'at=7']);
});

test('an address that the browser refuses is told, and the next one is written', () => {
  choose('refused');
  vi.runAllTimers();
  expect(failures).toHaveLength(1);
  choose('at=2');
  vi.runAllTimers();
  expect(bar.hash).toBe('at=2');
});
