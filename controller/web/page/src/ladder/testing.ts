/** Repetitions and chance for tests. Not part of the page. */
import type { Arrow, Bracket, Layout, Moment, Repetition, Row } from '../data';

/** Numbers in [0, 1) that are the same in every run: the generator of Park and Miller. */
export function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

const arrow: Arrow = {
  connection: 1, from: 0, to: 1, departure: -1, label: -1, arrival: -1, left: -1, came: -1, words: ['SYN', 's0'], delayed: false, delay: 0, delayErr: 0,
  lost: false, duplicate: false, impossible: false, ambiguous: false, copy: 0, dupAck: 0, reset: false, reason: '', told: false, taken: false, dropped: false,
};

const bracket: Bracket = {
  lane: 0, column: 0, enter: 0, return: 0, from: -1, to: -1, role: 'client', call: 'connect B:1', calls: 1, result: '0', remark: '', took: 0, waits: false,
  blocked: false, released: '', releasedAt: -1, failed: false, lab: false, tidy: false,
};

/**
 * A repetition of two hosts: connect(2) from 0 to 4 ms, its SYN from 1 to 3 ms, a lost
 * segment at 2 ms of another connection, and after a quiet second a sleep of the lab.
 */
export function sample(): Repetition {
  const times = [0, 1e6, 2e6, 3e6, 4e6, 1004e6, 1005e6];
  const row = (i: number, kind: Row['kind'], moment: number, more: Partial<Row> = {}): Row => ({
    kind, lane: 0, moment, at: moment >= 0 ? times[moment]! : times[i] ?? 0, err: 0, showErr: false, unordered: false, arrow: -1, bracket: -1, quiet: 0, text: '', mark: -1, ...more,
  });
  const rows: Row[] = [
    row(0, 'moment', 0, { bracket: 0 }), row(1, 'moment', 1, { arrow: 0 }), row(2, 'moment', 2, { arrow: 1 }),
    row(3, 'moment', 3, { arrow: 0, lane: 1, err: 500, showErr: true }), row(4, 'moment', 4, { bracket: 0 }), row(5, 'quiet', -1, { lane: -1, quiet: 1e9, at: 4e6 }),
    row(6, 'moment', 5, { bracket: 1 }), row(7, 'moment', 6, { bracket: 1 }),
  ];
  const moment = (i: number, host: number, more: Partial<Moment>): Moment => ({
    event: i, host, kind: 'call', edge: 'at', at: times[i]!, err: host === 0 ? 0 : 500, local: times[i]!, reading: 0, connection: 1, lane: 'client', call: '', flags: '',
    text: `moment ${i}`, row: i < 5 ? i : i + 1, arrow: -1, bracket: -1, ...more,
  });
  const at = [0, 1, 2, 3, 4, 6, 7];
  const linear = [0, 1, 2, 3, 4, 6, 7];
  const layout: Layout = {
    lanes: [
      { host: 0, name: 'A', agent: 'a', roles: ['client'], reference: true, depth: 1 },
      { host: 1, name: 'B', agent: 'b', roles: ['server'], reference: false, depth: 0 },
    ],
    unit: 1e6, decimals: 3, rows,
    arrows: [
      { ...arrow, departure: 1, arrival: 3, left: 1, came: 3, delayed: true, delay: 2e6, delayErr: 500 },
      { ...arrow, connection: 2, departure: 2, left: 2, lost: true },
    ],
    brackets: [
      { ...bracket, enter: 0, return: 4, from: 0, to: 4, took: 4e6, blocked: true, released: 'SYN+ACK came' },
      { ...bracket, enter: 6, return: 7, from: 5, to: 6, call: 'sleep 1s', took: 1e6, lab: true },
    ],
    states: [], drops: [], bands: [],
    spans: [
      { lane: 0, connection: 1, end: 0, name: 'SYN_SENT', known: 'traced', doubtful: false, first: 1, last: 4, open: false },
      { lane: 0, connection: 2, end: 0, name: 'ESTABLISHED', known: 'packet', doubtful: false, first: 2, last: 7, open: true },
    ],
    axes: (['row', 'linear', 'log'] as const).map((name) => ({
      name, places: Float64Array.from([0, 1, 2, 3, 4, 5, 6, 7]), length: 7, times: Float64Array.from(times), knots: Float64Array.from(linear),
      folded: Uint8Array.from(at, (r) => (r === 4 ? 1 : 0)),
    })),
  };
  return {
    n: 1, variant: '', ruling: 'pass', zero: '0', localBase: ['1000', '2000'], clocks: [
      { method: 'reference', low: '0', high: '0', messages: 0 }, { method: 'segments', low: '-500', high: '500', messages: 2 },
    ],
    summary: [], verdicts: [], warnings: [],
    moments: [
      moment(0, 0, { edge: 'enter', call: 'connect', bracket: 0 }), moment(1, 0, { kind: 'packet', arrow: 0, flags: 'SYN' }),
      moment(2, 0, { kind: 'packet', arrow: 1, connection: 2 }), moment(3, 1, { kind: 'packet', arrow: 0, flags: 'SYN' }),
      moment(4, 0, { edge: 'return', call: 'connect', bracket: 0 }), moment(5, 0, { edge: 'enter', call: 'sleep', bracket: 1, connection: 0 }),
      moment(6, 0, { edge: 'return', call: 'sleep', bracket: 1, connection: 0 }),
    ],
    connections: [], phases: [], causes: [], notes: [{ kind: 'k', text: 'a note', sources: [], moments: [1, 3], connection: 1 }], layout,
  };
}
