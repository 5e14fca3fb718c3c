/** What a filter may ask of the moments of a repetition. */
import type { Arrow, Bracket, Moment, Repetition, Run } from './data';
import { flagBits, type Facts, type Quality, type Vocabulary } from './filter';

const made = new WeakMap<Repetition, Facts[]>();

/** The facts of each moment, made once for a repetition. */
export function factsOf(run: Run, r: Repetition): Facts[] {
  let facts = made.get(r);
  if (facts === undefined) {
    const states = statesByMoment(r);
    const names = run.hosts.map((h) => [...new Set([h.name.toLowerCase(), h.agent.toLowerCase()])]);
    facts = r.moments.map((m, i) => new MomentFacts(r, m, names[m.host] ?? [], states.get(i) ?? none));
    made.set(r, facts);
  }
  return facts;
}

/** The words that a filter of this repetition can be about. */
export function vocabularyOf(run: Run, r: Repetition): Vocabulary {
  const lanes = new Set<string>();
  for (const m of r.moments) if (m.lane !== '') lanes.add(m.lane);
  return {
    hosts: [...new Set(run.hosts.flatMap((h) => [h.name, h.agent]))],
    lanes: [...lanes],
    connections: r.connections.length,
  };
}

/** The bits of flags as words have them: "SYN+ACK". */
export function bitsOf(flags: string): number {
  return flags.split('+').reduce((bits, name) => bits | (flagBits[name.toLowerCase()] ?? 0), 0);
}

const none: readonly string[] = [];

function statesByMoment(r: Repetition): Map<number, string[]> {
  const states = new Map<number, string[]>();
  for (const c of r.connections) {
    for (const s of [...c.client.states, ...c.server.states]) {
      if (s.moment < 0) continue;
      const there = states.get(s.moment);
      if (there === undefined) states.set(s.moment, [s.name.toLowerCase()]);
      else there.push(s.name.toLowerCase());
    }
  }
  return states;
}

/** Most filters ask little, and of 100,000 moments; so only what is cheap is made at once. */
class MomentFacts implements Facts {
  readonly lane: string;
  readonly call: string;
  readonly kind;
  readonly flags: number;
  readonly connection: number;
  readonly at: number;
  private words: string | null = null;
  private qualities: ReadonlySet<Quality> | null = null;

  constructor(
    private readonly r: Repetition,
    private readonly m: Moment,
    readonly hosts: readonly string[],
    readonly states: readonly string[],
  ) {
    this.lane = m.lane.toLowerCase();
    this.call = m.call.toLowerCase();
    this.kind = m.kind;
    this.flags = m.flags === '' ? -1 : bitsOf(m.flags);
    this.connection = m.connection;
    this.at = m.err === null ? NaN : m.at;
  }

  get result(): string {
    return this.bracket?.result.toLowerCase() ?? '';
  }

  get took(): number {
    if (this.bracket) return this.bracket.took;
    return this.arrow?.delayed ? this.arrow.delay : NaN;
  }

  get text(): string {
    return (this.words ??= [
      this.m.text, this.m.lane, ...this.hosts, ...(this.arrow?.words ?? none), this.arrow?.reason ?? '', this.bracket?.result ?? '',
      this.bracket?.remark ?? '', ...this.states,
    ].join(' ').toLowerCase());
  }

  get is(): ReadonlySet<Quality> {
    if (this.qualities) return this.qualities;
    const is = new Set<Quality>();
    const { arrow, bracket } = this;
    if (arrow) {
      for (const q of ['lost', 'duplicate', 'impossible', 'ambiguous', 'reset', 'dropped'] as const) if (arrow[q]) is.add(q);
      if (arrow.copy > 0) is.add('retransmitted');
    }
    if (bracket) for (const q of ['failed', 'waits', 'blocked', 'lab'] as const) if (bracket[q]) is.add(q);
    if (this.r.layout.rows[this.m.row]?.unordered) is.add('unordered');
    if (this.m.err === null) is.add('untied');
    return (this.qualities = is);
  }

  private get arrow(): Arrow | undefined {
    return this.r.layout.arrows[this.m.arrow];
  }

  private get bracket(): Bracket | undefined {
    return this.r.layout.brackets[this.m.bracket];
  }
}
