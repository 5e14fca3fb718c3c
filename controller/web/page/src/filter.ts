/**
 * What of a repetition a person wants to see, as they type it.
 *
 * A query is terms with blanks between them, and all must hold. `key:value` asks for a
 * fact, a bare word or "words in quotes" for text. Several values with commas between
 * them are alternatives. A minus before a term turns it round. Case counts nowhere.
 *
 *     host:A call:connect,accept -is:lab time:10ms..40ms "SYN,ACK" around:3
 *
 * `around:3` selects nothing by itself: it has the three moments on either side of each
 * hit shown with it.
 *
 * A term that cannot be understood is told with its place and never guessed at.
 */

import type { MomentKind } from './data';

/** What the terms ask of. One for each moment of a repetition. */
export interface Facts {
  /** Names by which its host is known, lower case: the role and the agent. */
  readonly hosts: readonly string[];
  /** The experiment's lane, lower case; "" if it is of none. */
  readonly lane: string;
  /** The call as the man page spells it; "" if it is none. */
  readonly call: string;
  readonly kind: Kind;
  /** TCP's flag bits, FIN = 1 … CWR = 128, AE = 256; -1 if it is no TCP packet. */
  readonly flags: number;
  /** Counted from 1; 0 if it belongs to none. */
  readonly connection: number;
  /** What a call gave, lower case: "0", "econnrefused". */
  readonly result: string;
  /** The TCP states that an end came to here, lower case. */
  readonly states: readonly string[];
  readonly is: ReadonlySet<Quality>;
  /** Nanoseconds since the repetition's zero; NaN if it has no time. */
  readonly at: number;
  /** How long a call took, or a packet was on its way, nanoseconds; NaN for others. */
  readonly took: number;
  /** All that is shown of it, lower case. */
  readonly text: string;
}

/** What sort of fact a moment is. */
export const kinds = [
  'call', 'packet', 'trace', 'loss', 'clock', 'change', 'process', 'queue', 'sample', 'mark',
] as const satisfies readonly MomentKind[];
export type Kind = MomentKind;

/** What may be said of a moment beside its kind. */
export const qualities = [
  'lost', 'retransmitted', 'duplicate', 'impossible', 'ambiguous', 'reset', 'dropped', 'failed', 'waits', 'blocked', 'lab', 'unordered', 'untied',
] as const;
export type Quality = (typeof qualities)[number];

/** The flags of TCP by their bits, as RFC 9293 3.1 and RFC 9768 name them. */
export const flagBits: Readonly<Record<string, number>> = {
  fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ece: 64, cwr: 128, ae: 256,
};

/** What the data at hand have, so that a value that can match nothing is told. */
export interface Vocabulary {
  /** Names of hosts, roles and agents, as they are written. */
  readonly hosts: readonly string[];
  readonly lanes: readonly string[];
  /** How many connections there are. */
  readonly connections: number;
}

/** One condition of a query. */
export interface Term {
  readonly key: Key;
  readonly negated: boolean;
  /** As it was typed, and where. */
  readonly source: string;
  readonly at: number;
  accepts(f: Facts): boolean;
}

/** What is wrong with a query, and where. */
export interface Trouble {
  readonly at: number;
  readonly length: number;
  readonly message: string;
}

/** A query that was read. It selects something only if there is no trouble. */
export interface Query {
  readonly terms: readonly Term[];
  readonly troubles: readonly Trouble[];
  /** How many neighbours are shown on either side of a hit. */
  readonly around: number;
}

const keys = ['host', 'lane', 'call', 'flags', 'conn', 'kind', 'result', 'state', 'is', 'time', 'took', 'around', 'text'] as const;
export type Key = (typeof keys)[number];

/** The longest query that is read. Nobody types more; a link might hold more. */
export const longestQuery = 2000;

/** Reads a query. It never throws: what is wrong is in `troubles`. */
export function parseQuery(text: string, known: Vocabulary): Query {
  if (text.length > longestQuery) {
    const message = `the filter has ${text.length} characters; at most ${longestQuery} are read`;
    return { terms: [], troubles: [{ at: 0, length: text.length, message }], around: 0 };
  }
  const terms: Term[] = [];
  const troubles: Trouble[] = [];
  let around = 0;
  for (const word of split(text)) {
    try {
      const term = parseTerm(word, known);
      if (term.key === 'around') around = reachOf(term);
      terms.push(term);
    } catch (e) {
      if (!(e instanceof Misread)) throw e;
      troubles.push({ at: word.at, length: word.source.length, message: e.message });
    }
  }
  return { terms, troubles, around };
}

/** Reports whether all terms hold. A query without terms selects everything. */
export function selects(q: Query, f: Facts): boolean {
  return q.terms.every((t) => t.accepts(f) !== t.negated);
}

/** The query's text without one of its terms. */
export function without(text: string, t: Term): string {
  return (text.slice(0, t.at) + text.slice(t.at + t.source.length)).replace(/\s+/g, ' ').trim();
}

/** The query's text with one more term; the same if it has that term already. */
export function withTerm(text: string, source: string): string {
  const has = split(text).some((w) => w.source.toLowerCase() === source.toLowerCase());
  return has ? text : `${text.trim()} ${source}`.trim();
}

/** Marks, beside each hit, as many neighbours on either side as `reach` says. */
export function withNeighbours(hits: Uint8Array, reach: number): Uint8Array {
  const near = new Uint8Array(hits.length);
  // Up to here all is marked that is to be, so that no moment is marked twice.
  let until = 0;
  for (let i = 0; i < hits.length; i++) {
    if (!hits[i]) continue;
    near.fill(1, Math.max(until, i - reach), i + reach + 1);
    until = i + reach + 1;
  }
  return near;
}

/** What a person reads of a term that was not understood. */
class Misread extends Error {}

interface Word {
  readonly source: string;
  readonly at: number;
}

/** Splits at blanks that are outside quotes. */
function split(text: string): Word[] {
  const words: Word[] = [];
  const pattern = /(?:[^\s"]|"[^"]*"?)+/g;
  for (const m of text.matchAll(pattern)) words.push({ source: m[0], at: m.index });
  return words;
}

function parseTerm(word: Word, known: Vocabulary): Term {
  const negated = word.source.startsWith('-') && word.source.length > 1;
  const body = negated ? word.source.slice(1) : word.source;
  const { key, value } = keyOf(body);
  const test = testOf(key, value, known);
  return { key, negated, source: word.source, at: word.at, accepts: test };
}

/** A word is a key with its value only if what is before the colon could be a key. */
function keyOf(body: string): { key: Key; value: string } {
  const colon = /^([A-Za-z]+):/.exec(body);
  if (!colon) return { key: 'text', value: body };
  const name = colon[1]!.toLowerCase();
  const key = keys.find((k) => k === name);
  if (!key) throw new Misread(unknown('key', colon[1]!, keys, 'Text with a colon needs quotes.'));
  return { key, value: body.slice(colon[0].length) };
}

const furthest = 1000;

function reachOf(t: Term): number {
  const value = t.source.replace(/^.*:/, '');
  if (t.negated || !/^[0-9]+$/.test(value) || Number(value) > furthest) {
    throw new Misread(`around: wants a number of moments up to ${furthest}, as around:3`);
  }
  return Number(value);
}

function testOf(key: Key, value: string, known: Vocabulary): (f: Facts) => boolean {
  if (key === 'around') return () => true;
  if (key === 'time') return rangeTest(key, value, (f) => f.at);
  if (key === 'took') return rangeTest(key, value, (f) => f.took);
  // In bare text a comma is a comma: "SYN,ACK" is how a tap writes it.
  const asked = key === 'text' ? [unquoted(value)] : alternatives(key, value);
  const tests = asked.map((a) => testOne(key, a, known));
  return (f) => tests.some((t) => t(f));
}

function alternatives(key: Key, value: string): string[] {
  const list = [...value.matchAll(/(?:[^,"]|"[^"]*"?)+/g)].map((m) => unquoted(m[0]));
  if (list.length === 0) throw new Misread(`${key}: has no value`);
  return list;
}

function unquoted(value: string): string {
  if ((value.match(/"/g)?.length ?? 0) % 2 === 1) throw new Misread('a quote is not closed');
  const bare = value.replace(/"/g, '').toLowerCase();
  if (bare === '') throw new Misread('there is nothing between the quotes');
  return bare;
}

function testOne(key: Exclude<Key, 'time' | 'took' | 'around'>, asked: string, known: Vocabulary): (f: Facts) => boolean {
  switch (key) {
    case 'host':
      mustBe('host', asked, known.hosts);
      return (f) => f.hosts.includes(asked);
    case 'lane':
      mustBe('lane', asked, known.lanes);
      return (f) => f.lane === asked;
    case 'call':
      return (f) => f.call === asked;
    case 'flags':
      return flagsTest(asked);
    case 'conn':
      return connectionTest(asked, known.connections);
    case 'kind':
      mustBe('kind', asked, kinds);
      return (f) => f.kind === asked;
    case 'result':
      return (f) => f.result.includes(asked);
    case 'state':
      return (f) => f.states.includes(asked.replace(/-/g, '_'));
    case 'is': {
      const quality = mustBe('word for is:', asked, qualities);
      return (f) => f.is.has(quality);
    }
    case 'text':
      return (f) => f.text.includes(asked);
  }
}

/** `syn` has SYN among its flags; `=syn` has SYN and nothing else; `syn+ack` has both. */
function flagsTest(asked: string): (f: Facts) => boolean {
  const only = asked.startsWith('=');
  let bits = 0;
  for (const name of asked.slice(only ? 1 : 0).split(/[+|/]/)) {
    const bit = flagBits[name];
    if (bit === undefined) throw new Misread(unknown('flag', name.toUpperCase(), Object.keys(flagBits).map((n) => n.toUpperCase())));
    bits |= bit;
  }
  return only ? (f) => f.flags === bits : (f) => f.flags >= 0 && (f.flags & bits) === bits;
}

function connectionTest(asked: string, count: number): (f: Facts) => boolean {
  if (asked === 'none') return (f) => f.connection === 0;
  if (!/^[0-9]+$/.test(asked) || Number(asked) < 1) throw new Misread(`conn:${asked} is no number of a connection; they count from 1, and conn:none is what belongs to none`);
  const number = Number(asked);
  if (number > count) throw new Misread(`there is no connection ${asked}; ${count === 0 ? 'there are none' : `they go from 1 to ${count}`}`);
  return (f) => f.connection === number;
}

function rangeTest(key: Key, value: string, of: (f: Facts) => number): (f: Facts) => boolean {
  const compare = /^(<=|>=|<|>)(.+)$/.exec(value);
  if (compare) {
    const limit = nanoseconds(compare[2]!);
    switch (compare[1]) {
      case '<': return (f) => of(f) < limit;
      case '<=': return (f) => of(f) <= limit;
      case '>': return (f) => of(f) > limit;
      default: return (f) => of(f) >= limit;
    }
  }
  const dots = value.indexOf('..');
  if (dots < 0) throw new Misread(`${key}: wants a range as 10ms..40ms, 10ms.. or ..40ms, or a limit as >10ms`);
  const low = dots === 0 ? -Infinity : nanoseconds(value.slice(0, dots));
  const high = dots + 2 === value.length ? Infinity : nanoseconds(value.slice(dots + 2));
  if (low > high) throw new Misread(`${key}: ${value.slice(0, dots)} is after ${value.slice(dots + 2)}`);
  return (f) => { const v = of(f); return v >= low && v <= high; };
}

const unitNs: Readonly<Record<string, number>> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** Reads "1.5ms" as nanoseconds. */
function nanoseconds(text: string): number {
  const m = /^([-−]?[0-9]+(?:\.[0-9]+)?)([a-zµμ]*)$/i.exec(text);
  if (!m) throw new Misread(`"${text}" is no time; write it as 10ms, 1.5s or 200us`);
  const unit = unitNs[m[2]!.toLowerCase()];
  if (unit === undefined) throw new Misread(m[2] === '' ? `${text} has no unit; write ${text}ms` : `"${m[2]}" is no unit of time; known: ns, us, ms, s, m, h`);
  return Number(m[1]!.replace('−', '-')) * unit;
}

/** The one of `all` that was asked for. */
function mustBe<T extends string>(what: string, asked: string, all: readonly T[]): T {
  const found = all.find((a) => a.toLowerCase() === asked);
  if (found === undefined) throw new Misread(unknown(what, asked, all));
  return found;
}

function unknown(what: string, asked: string, all: readonly string[], more = ''): string {
  const near = nearest(asked.toLowerCase(), all);
  const known = all.length === 0 ? 'there are none here' : `known: ${all.join(', ')}`;
  return `unknown ${what} "${asked}"; ${near === undefined ? `${known}${more === '' ? '' : '.'}` : `did you mean ${near}?`}${more === '' ? '' : ` ${more}`}`;
}

/** The one that differs least, if it differs little. */
function nearest(asked: string, all: readonly string[]): string | undefined {
  let best: string | undefined;
  // Of two letters every other word of two is near.
  let least = asked.length < 3 ? 1 : Math.max(2, Math.floor(asked.length / 3)) + 1;
  for (const a of all) {
    const d = distance(asked, a.toLowerCase());
    if (d < least) [best, least] = [a, d];
  }
  return best;
}

/** How many letters must be put in, taken out or changed (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}
