import { expect, test } from 'vitest';
import { eventFacts, optionNames, tcpInfoFacts } from './event_facts';

test('options of a SYN are told, and a broken one ends them', () => {
  expect(optionNames(Uint8Array.from([2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 1, 1, 3, 3, 10]))).toEqual([
    'MSS 1460', 'SACK permitted', 'timestamp 9, echo 1', 'window scale 10',
  ]);
  expect(optionNames(Uint8Array.from([5, 10, 0, 0, 0, 1, 0, 0, 0, 9]))).toEqual(['SACK 1–9']);
  for (const broken of [[2], [2, 0], [2, 40, 1], [8, 1]]) {
    expect(optionNames(Uint8Array.from(broken))).toEqual(['?']);
  }
  expect(optionNames(Uint8Array.from([0, 99]))).toEqual([]);
  expect(optionNames(Uint8Array.from([2, 3, 1]))).toEqual(['option 2']);
});

test('tcp_info is read as far as it goes', () => {
  const raw = new Uint8Array(240);
  const view = new DataView(raw.buffer);
  raw[0] = 1;
  view.setUint32(68, 40_000, true);
  view.setBigUint64(120, 5n, true);
  const encoded = btoa(String.fromCharCode(...raw));
  expect(tcpInfoFacts(encoded)).toContainEqual(['TCP_INFO state', 'ESTABLISHED']);
  expect(tcpInfoFacts(encoded)).toContainEqual(['RTT', '40 ms, varies 0 ns']);
  expect(tcpInfoFacts(encoded)).toContainEqual(['Bytes', '5 acknowledged, 0 received']);
  expect(tcpInfoFacts(btoa('short'))).toEqual([]);
  expect(tcpInfoFacts(undefined)).toEqual([]);
});

test('a packet and a call tell where they come from', () => {
  const packet = { host: 1, event: { packet: { interface: 'eth0', direction: 'DIRECTION_OUT', flags: 18, sourcePort: 1, destinationPort: 2, sequence: 7 } } };
  expect(eventFacts(packet)).toContainEqual(['Source', 'tap of eth0, sent']);
  expect(eventFacts(packet)).toContainEqual(['Flags', 'SYN ACK']);
  expect(eventFacts({ call: { lane: 'client', thread: 9, result: '-1', errno: 111, shown: 'ECONNREFUSED' } })).toContainEqual(['Returned', '-1, errno 111 ECONNREFUSED']);
  expect(eventFacts(null)).toEqual([]);
  expect(eventFacts({ mark: {} })).toEqual([]);
});
