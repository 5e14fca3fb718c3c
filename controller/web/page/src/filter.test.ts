import { describe, expect, test } from 'vitest';
import { type Facts, longestQuery, parseQuery, selects, type Vocabulary, withNeighbours, without, withTerm } from './filter';

const known: Vocabulary = { hosts: ['A', 'vm1', 'B', 'vm2'], lanes: ['client', 'server'], connections: 2 };

const plain: Facts = {
  hosts: ['a', 'vm1'], lane: 'client', call: 'connect', kind: 'call', flags: -1, connection: 1, result: '0', states: ['established'],
  is: new Set(['waits']), at: 40.14e6, took: 40.14e6, text: 'connect b:8080 = 0 in 40.14 ms',
};
const syn: Facts = { ...plain, hosts: ['b', 'vm2'], lane: '', call: '', kind: 'packet', flags: 2, is: new Set(['lost']), at: 31e3, took: NaN, text: 'syn s0 mss1460 ws7' };
const synAck: Facts = { ...syn, flags: 18, connection: 2, at: 20e6, took: 20e6, is: new Set(), text: 'syn,ack s0 a1' };

function names(query: string): string {
  const q = parseQuery(query, known);
  expect(q.troubles, query).toEqual([]);
  return [['plain', plain], ['syn', syn], ['synAck', synAck]].filter(([, f]) => selects(q, f as Facts)).map(([n]) => n).join(' ');
}

describe('a query', () => {
  test.each([
    ['', 'plain syn synAck'],
    ['host:A', 'plain'],
    ['host:vm2', 'syn synAck'],
    ['HOST:a', 'plain'],
    ['-host:A', 'syn synAck'],
    ['lane:client', 'plain'],
    ['call:accept,connect', 'plain'],
    ['flags:syn', 'syn synAck'],
    ['flags:=SYN', 'syn'],
    ['flags:SYN+ACK', 'synAck'],
    ['conn:1', 'plain syn'],
    ['conn:1 flags:SYN', 'syn'],
    ['kind:packet', 'syn synAck'],
    ['result:0', 'plain syn synAck'],
    ['state:established', 'plain syn synAck'],
    ['is:lost', 'syn'],
    ['-is:lost', 'plain synAck'],
    ['time:10ms..40ms', 'synAck'],
    ['time:..31us', 'syn'],
    ['time:>20ms', 'plain'],
    ['took:>=20ms', 'plain synAck'],
    ['mss1460', 'syn'],
    ['"syn,ack s0"', 'synAck'],
    ['-syn', 'plain'],
    ['around:3 is:lost', 'syn'],
  ])('%s selects %s', (query, wanted) => expect(names(query)).toBe(wanted));

  test.each([
    ['hots:A', 'unknown key "hots"; did you mean host? Text with a colon needs quotes.'],
    ['host:C', 'unknown host "c"; known: A, vm1, B, vm2'],
    ['lane:cleint', 'unknown lane "cleint"; did you mean client?'],
    ['kind:pakcet', 'unknown kind "pakcet"; did you mean packet?'],
    ['flags:SIN', 'unknown flag "SIN"; did you mean FIN?'],
    ['conn:3', 'there is no connection 3; they go from 1 to 2'],
    ['conn:x', 'conn:x is no number of a connection; they count from 1, and conn:none is what belongs to none'],
    ['time:10..20', '10 has no unit; write 10ms'],
    ['time:10ms', 'time: wants a range as 10ms..40ms, 10ms.. or ..40ms, or a limit as >10ms'],
    ['time:40ms..10ms', 'time: 40ms is after 10ms'],
    ['took:>5parsec', '"parsec" is no unit of time; known: ns, us, ms, s, m, h'],
    ['"open', 'a quote is not closed'],
    ['host:', 'host: has no value'],
    ['""', 'there is nothing between the quotes'],
    ['around:many', 'around: wants a number of moments up to 1000, as around:3'],
  ])('%s is told: %s', (query, message) => {
    const q = parseQuery(`host:A ${query}`, known);
    expect(q.troubles).toEqual([{ at: 7, length: query.length, message }]);
  });

  test('what is too long is not read', () => {
    expect(parseQuery('x'.repeat(longestQuery + 1), known).troubles).toHaveLength(1);
  });

  test('terms are taken out and put in where they stand', () => {
    const text = 'host:A  flags:SYN "a b"';
    const q = parseQuery(text, known);
    expect(without(text, q.terms[1]!)).toBe('host:A "a b"');
    expect(withTerm(text, 'FLAGS:syn')).toBe(text);
    expect(withTerm(' host:A ', 'is:lost')).toBe('host:A is:lost');
  });

  test('nothing that can be typed throws', () => {
    const alphabet = ['host:', '-', '"', ',', ' ', 'A', 'flags:', '=', '+', 'time:', '..', '>', '<', '1', 'ms', 'around:', 'conn:', 'is:', ':', 'é', '\u0000'];
    let seed = 1;
    const random = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
    for (let i = 0; i < 5000; i++) {
      const text = Array.from({ length: random(12) }, () => alphabet[random(alphabet.length)]).join('');
      const q = parseQuery(text, known);
      for (const f of [plain, syn, synAck]) selects(q, f);
      for (const t of [...q.terms, ...q.troubles.map((x) => ({ at: x.at, source: text.slice(x.at, x.at + x.length) }))]) {
        expect(text.slice(t.at, t.at + t.source.length)).toBe(t.source);
      }
    }
  });
});

test('neighbours are marked on both sides of each hit, and no further', () => {
  const marked = (hits: string, reach: number) => [...withNeighbours(Uint8Array.from(hits, Number), reach)].join('');
  expect(marked('0000100000', 2)).toBe('0011111000');
  expect(marked('1000000001', 1)).toBe('1100000011');
  expect(marked('0100100000', 1)).toBe('1111110000');
  expect(marked('0110000000', 0)).toBe('0110000000');
  expect(marked('', 3)).toBe('');
});
