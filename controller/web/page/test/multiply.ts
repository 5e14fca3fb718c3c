/** Makes large pages of a small one: many repetitions, or one with very many events. */
import { gunzipSync, gzipSync } from 'node:zlib';
import {
  type Events, type PackedPage, type PackedRepetition, readPage, readRepetition, type Repetition, type Table,
} from '../src/data';

const blockPattern = /<script type="application\/gzip" id="block-(\d+)">([^<]*)<\/script>/g;

/** The blocks of a page, unpacked. */
export function blocksOf(html: string): unknown[] {
  const blocks: unknown[] = [];
  for (const m of html.matchAll(blockPattern)) {
    blocks[Number(m[1])] = JSON.parse(gunzipSync(Buffer.from(m[2]!, 'base64')).toString());
  }
  if (blocks.length === 0) throw new Error('the page has no blocks');
  return blocks;
}

/** The page with other blocks. They run nothing, so the page's policy stays as it is. */
export function withBlocks(html: string, blocks: readonly unknown[]): string {
  const packed = blocks.map((b, i) => `<script type="application/gzip" id="block-${i}">${gzipSync(JSON.stringify(b)).toString('base64')}</script>`);
  const [first = ''] = html.match(blockPattern) ?? [];
  const at = html.indexOf(first);
  return html.slice(0, at) + packed.join('\n') + html.slice(at).replace(blockPattern, '');
}

/** A run of so many repetitions, of which every hundredth tells another story and failed. */
export function manyRepetitions(html: string, count: number): string {
  const blocks = blocksOf(html);
  const head = blocks[0] as PackedPage;
  const page = readPage(head);
  const [run] = page.runs;
  if (run === undefined) throw new Error('the page has no run');
  const model = run.repetitions[0]!;
  const packed = (blocks[model.block] as PackedRepetition[])[model.index]!;
  const events = (blocks[model.eventBlock] as Events[])[model.eventIndex]!;
  const perBlock = 50;
  const out: unknown[] = [null];
  const overviews = Array.from({ length: count }, (_, i) => {
    const odd = i % 100 === 57;
    return {
      ...model, n: i + 1, began: model.began + i * 1e9, ruling: odd ? 'fail' : 'pass', why: odd ? 'made to fail, so that something stands out' : '',
      oddness: odd ? 50 + i / count : noise(i), signature: odd ? 'another' : model.signature, took: model.took * (1 + 0.1 * noise(i)),
    };
  });
  for (let from = 0; from < count; from += perBlock) {
    const some = overviews.slice(from, from + perBlock);
    for (const [k, o] of some.entries()) Object.assign(o, { block: out.length, index: k, eventBlock: out.length + 1, eventIndex: k });
    out.push(some.map((o) => stretched({ ...packed, n: o.n, ruling: o.ruling } as PackedRepetition, 1 + 0.1 * noise(o.n - 1))), some.map(() => events));
  }
  out[0] = {
    ...head, blocks: out.length, open: { run: 0, repetition: 58, why: 'failed' },
    runs: [{
      ...head.runs[0]!, repetitions: tableOf(overviews),
      hosts: head.runs[0]!.hosts.map((h, i) => (i === 0 ? h : { ...h, reference: false, sameClock: false, method: 'probes and segments' })),
      clock: clockOf(head.runs[0]!.hosts.length, count),
      phases: run.phases.map((p) => ({
        ...p, n: count,
        values: tableOf(overviews.map((o, i) => ({ repetition: o.n, connection: 1, ns: Math.round(p.median * (1 + 0.1 * noise(i))), err: p.err }))),
      })),
    }],
  };
  return withBlocks(html, out);
}

/**
 * The same run, its phases from 1 µs to a second with a ± as large as they are: too few for
 * an interval in one, only between clocks that nothing ties in another.
 */
export function farApart(html: string): string {
  const blocks = blocksOf(html);
  const head = blocks[0] as PackedPage;
  const phases = readPage(head).runs[0]!.phases.map((p, i) => {
    const values = [1e3, 1e6, 1e9].map((ns, k) => ({ repetition: k + 1, connection: 1, ns, err: i === 1 ? null : 2 * ns }));
    return {
      ...p, n: i === 1 ? 0 : 3, min: i === 1 ? 0 : 1e3, median: i === 1 ? 0 : 1e6, p90: i === 1 ? 0 : 1e9, p99: i === 1 ? 0 : 1e9, max: i === 1 ? 0 : 1e9,
      low: 0, high: 0, confidence: 0, err: i === 1 ? null : 2e9, values: tableOf(values),
    };
  });
  return withBlocks(html, [{ ...head, runs: [{ ...head.runs[0]!, phases }] }, ...blocks.slice(1)]);
}

/** A page of so many runs: the one that there is, again and again, with lengths of its own each. */
export function manyRuns(html: string, count: number): string {
  const blocks = blocksOf(html);
  const head = blocks[0] as PackedPage;
  const [model] = head.runs;
  const [read] = readPage(head).runs;
  if (model === undefined || read === undefined) throw new Error('the page has no run');
  const runs = Array.from({ length: count }, (_, k) => ({
    ...model, id: `${model.id}-${k + 1}`, name: `${model.name}-${k + 1}`,
    phases: read.phases.map((p, j) => {
      const values = Array.from({ length: 100 }, (_, i) => ({ repetition: read.repetitions[i % read.repetitions.length]!.n, connection: 1, ns: Math.round((p.median + 1000) * (1 + 0.2 * noise(i + 131 * k + j))), err: p.err }));
      return { ...p, n: values.length, values: tableOf(values) };
    }),
  }));
  return withBlocks(html, [{ ...head, runs }, ...blocks.slice(1)]);
}

/** The same page, in which all that others have named is called so. */
export function named(html: string, name: string): string {
  const blocks = blocksOf(html);
  const head = blocks[0] as PackedPage;
  const run = head.runs[0]!;
  const [o] = readPage(head).runs[0]!.repetitions;
  const list = blocks[o!.block] as PackedRepetition[];
  const all = (t: Table, columns: readonly string[]): Table => ({ ...t, columns: Object.fromEntries(Object.entries(t.columns).map(([k, v]) => [k, columns.includes(k) ? v.map(() => name) : v])) });
  const changed = list.map((r) => ({
    ...r, summary: [name, `${name}: 3 ms`], moments: all(r.moments, ['text', 'lane']),
    layout: { ...r.layout, lanes: r.layout.lanes.map((l) => ({ ...l, name, agent: name, roles: [name] })), brackets: all(r.layout.brackets, ['call', 'result', 'role', 'remark']) },
  }));
  const runs = [{ ...run, id: name, name, experiment: name, reason: name, hosts: run.hosts.map((h) => ({ ...h, name, agent: name, kernel: name })) }];
  return withBlocks(html, blocks.map((b, i) => (i === 0 ? { ...head, runs } : i === o!.block ? changed : b)));
}

/** One repetition of so many moments: its own, one after the other, again and again. */
export function longRepetition(html: string, count: number): string {
  const blocks = blocksOf(html);
  const head = blocks[0] as PackedPage;
  const page = readPage(head);
  const model = page.runs[0]!.repetitions[0]!;
  const packed = (blocks[model.block] as PackedRepetition[])[model.index]!;
  const r = readRepetition(packed);
  const long = repeated(r, packed, Math.ceil(count / r.moments.length));
  const events = (blocks[model.eventBlock] as Events[])[model.eventIndex]!;
  const overview = { ...model, n: 1, moments: long.moments.n, block: 1, index: 0, eventBlock: 2, eventIndex: 0 };
  return withBlocks(html, [
    { ...head, blocks: 3, open: { run: 0, repetition: 1, why: '' }, runs: [{ ...head.runs[0]!, repetitions: tableOf([overview]), phases: [] }] },
    [{ ...long, n: 1 }], [events],
  ]);
}

function repeated(r: Repetition, packed: PackedRepetition, times: number): PackedRepetition {
  const { layout } = r;
  const length = Math.max(...layout.rows.map((w) => w.at), ...r.moments.map((m) => m.at)) - Math.min(...layout.rows.map((w) => w.at)) + 1e6;
  const sizes = {
    moments: r.moments.length, rows: layout.rows.length, arrows: layout.arrows.length, brackets: layout.brackets.length,
    states: layout.states.length, drops: layout.drops.length,
  };
  const copies = Array.from({ length: times }, (_, k) => k);
  const by = (k: number, what: keyof typeof sizes, i: number): number => (i < 0 ? i : i + k * sizes[what]);
  const all = <T>(list: readonly T[], of: (x: T, k: number) => T): T[] => copies.flatMap((k) => list.map((x) => of(x, k)));
  const rows = all(layout.rows, (w, k) => ({
    ...w, at: w.at + k * length, moment: by(k, 'moments', w.moment), arrow: by(k, 'arrows', w.arrow), bracket: by(k, 'brackets', w.bracket),
    mark: by(k, w.kind === 'state' ? 'states' : 'drops', w.mark),
  }));
  return {
    ...packed,
    verdicts: [], notes: [], phases: tableOf([]),
    connections: r.connections.map((c) => ({ client: { ...c.client, states: [] }, server: { ...c.server, states: [] } })),
    moments: tableOf(all(r.moments, (m, k) => ({
      ...m, at: m.at + k * length, local: m.local + k * length, row: by(k, 'rows', m.row), arrow: by(k, 'arrows', m.arrow), bracket: by(k, 'brackets', m.bracket),
    }))),
    causes: tableOf(all(r.causes, (c, k) => ({ ...c, effect: by(k, 'moments', c.effect), by: by(k, 'moments', c.by) }))),
    layout: {
      ...packed.layout, bands: [],
      rows: tableOf(rows),
      arrows: tableOf(all(layout.arrows, (a, k) => ({
        ...a, departure: by(k, 'rows', a.departure), label: by(k, 'rows', a.label), arrival: by(k, 'rows', a.arrival),
        left: by(k, 'moments', a.left), came: by(k, 'moments', a.came),
      }))),
      brackets: tableOf(all(layout.brackets, (b, k) => ({
        ...b, enter: by(k, 'rows', b.enter), return: by(k, 'rows', b.return), from: by(k, 'moments', b.from), to: by(k, 'moments', b.to), releasedAt: by(k, 'rows', b.releasedAt),
      }))),
      states: tableOf(all(layout.states, (s, k) => ({ ...s, row: by(k, 'rows', s.row) }))),
      drops: all(layout.drops, (d, k) => ({ ...d, row: by(k, 'rows', d.row), arrow: by(k, 'arrows', d.arrow) })),
      spans: tableOf(all(layout.spans, (s, k) => ({ ...s, first: by(k, 'rows', s.first), last: by(k, 'rows', s.last) }))),
      axes: packed.layout.axes.map((a) => ({ ...a, rows: [], places: [], folds: [] })),
    },
  } as unknown as PackedRepetition;
}

/** Clocks that drift by 18 ppm and are known within some 40 µs, with a change on the way. */
function clockOf(hosts: number, seconds: number): PackedPage['runs'][number]['clock'] {
  const points = Array.from({ length: 120 }, (_, i) => {
    const at = (i * seconds * 1e9) / 119;
    const middle = 18e-6 * at + 9_000 * Math.sin(i / 9);
    const half = 38_000 + 9_000 * noise(i);
    return {
      at, low: middle - half, high: middle + half, estimate: middle, probesLow: middle - 1.2 * half, probesHigh: middle + 1.1 * half,
      segmentsLow: middle - 1.6 * half, segmentsHigh: middle + 2 * half,
    };
  });
  const samples = points.flatMap((p, i) => [
    { at: p.at, offset: p.high + 6_000 * (1 + noise(i)), upper: true, probe: i % 3 > 0 },
    { at: p.at, offset: p.low - 6_000 * (1 + noise(i + 7)), upper: false, probe: i % 3 > 0 },
  ]);
  const known = {
    rateLow: 17_400, rateHigh: 18_600, errMedian: 38_000, errMax: 47_000, offsetBase: '-3214000000', points: tableOf(points), samples: tableOf(samples),
    changes: [{ at: seconds * 0.6e9, text: 'the rate of the clock was changed from +0 ppm to +18 ppm' }],
  };
  const own = { ...known, rateLow: null, rateHigh: null, errMedian: 0, errMax: 0, offsetBase: '0', points: tableOf([]), samples: tableOf([]), changes: [] };
  return {
    drift: 200_000, wander: 1_000, warnings: [], hosts: Array.from({ length: hosts }, (_, i) => (i === 0 ? own : known)),
    pairs: [{ a: 0, b: 1, probesThere: 240, probesBack: 238, segmentsThere: 4_000, segmentsBack: 3_996, roundTrip: 71_000, disagreement: '' }],
  };
}

/** All times longer by a factor: the same story at another pace. */
function stretched(packed: PackedRepetition, factor: number): PackedRepetition {
  const times = (t: Table, names: readonly string[]): Table => ({
    n: t.n, columns: Object.fromEntries(Object.entries(t.columns).map(([name, column]) => [name, names.includes(name) ? column.map((v) => Math.round((v as number) * factor)) : column])),
  });
  return {
    ...packed, moments: times(packed.moments, ['at', 'local']),
    layout: { ...packed.layout, rows: times(packed.layout.rows, ['at']), brackets: times(packed.layout.brackets, ['took']) },
  };
}

function tableOf(rows: readonly object[]): Table {
  const names = Object.keys(rows[0] ?? {});
  return { n: rows.length, columns: Object.fromEntries(names.map((name) => [name, rows.map((r) => (r as Record<string, unknown>)[name])])) };
}

/** From -1 to 1, the same for the same i. */
function noise(i: number): number {
  const x = Math.sin(i * 12.9898) * 43758.5453;
  return 2 * (x - Math.floor(x)) - 1;
}
