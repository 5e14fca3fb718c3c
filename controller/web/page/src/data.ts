/**
 * What the page is told: the contract between the program that writes a page (the Go
 * package controller/web, data.go) and the page itself. A test there holds the two alike,
 * field by field.
 *
 * Times are nanoseconds. `at` counts on the lab's clock from the zero of its repetition
 * (the first connect(2)), surely right within `err`; err is null where nothing ties the
 * clocks, and then `at` is only where it is drawn. Times of a whole run count from the
 * run's start. All of them are exact: a float64 counts nanoseconds up to 104 days. A host's
 * own time is a string and a number: Repetition.localBase + Moment.local.
 *
 * Indices count from 0, and -1 is none. Numbers of connections and repetitions count from 1.
 */

/** The schema that this page reads. Another one is an error, told to the reader. */
export const schema = "syncline.page/1";

/** Ruling is one of the four verdicts; "no verdict" if nothing was judged. */
export type Ruling = "pass" | "fail" | "cannot tell" | "not reproduced" | "no verdict";

/** Page is block 0: all that is known before any repetition is opened. */
export interface Page {
  schema: string;
  /** Who wrote it: "syncline 0.1.0". */
  tool: string;
  title: string;
  /** The command that writes this page again. */
  command: string;
  /** What to show first, and why that. */
  open: Opening;
  runs: Run[];
  /** How many blocks there are, this one among them. */
  blocks: number;
}

/** Opening is the repetition to begin with: the worst. */
export interface Opening {
  /** Index of the run; repetition is 0 if there is none. */
  run: number;
  repetition: number;
  /** Why this one, in a few words: "failed: handshake". */
  why: string;
}

/** Run is one execution of an experiment. */
export interface Run {
  id: string;
  experiment: string;
  /** The experiment's file, as text; empty if it is not on record. */
  source: string;
  /** How commands call it: by its id, or by the path of its bundle. Not quoted for a shell. */
  name: string;
  /** The command that shows this run on a terminal; a shell reads it as it is. */
  command: string;
  /** "sealed", "failed", "cancelled"; reason says why for the latter two. */
  state: string;
  reason: string;
  /** When it was made, RFC 3339 in UTC; empty if not known. */
  created: string;
  /** The worst over all repetitions. */
  ruling: Ruling;
  /** Index of the host whose clock is the lab's. */
  reference: number;
  hosts: Host[];
  /** What is known to be missing from the record as a whole. */
  incomplete: string[];
  warnings: string[];
  /** How often each expectation was ruled on, and how. */
  expectations: Expectation[];
  /** The clocks over the run; null if nothing was told of them. */
  clock: Clock | null;
  repetitions: Overview[];
  phases: PhaseStatistics[];
}

/** Host is a machine of the lab and the role it plays. */
export interface Host {
  /** The role in the experiment ("A"), and the machine that plays it ("vm1"). */
  name: string;
  agent: string;
  address: string;
  address6: string;
  kernel: string;
  /** Not empty: its times are of a test clock, which this describes. */
  testClock: string;
  /** True for the host whose clock is the lab's. */
  reference: boolean;
  /** True for another host that reads that very clock. */
  sameClock: boolean;
  /** What its offset is derived from: "probes and segments", "reference", "unknown". */
  method: string;
  /** What the experiment asked of it and it could not give: "packets: no CAP_NET_RAW". */
  missing: string[];
}

/** Expectation counts the rulings on one expectation over the repetitions of a run. */
export interface Expectation {
  text: string;
  pass: number;
  fail: number;
  cannotTell: number;
  notReproduced: number;
}

/** Overview is what is known of a repetition before it is opened. */
export interface Overview {
  n: number;
  /** The variant of the experiment; empty if there is one only. */
  variant: string;
  ruling: Ruling;
  /** The first verdict that is not a pass: "handshake: …"; empty if there is none. */
  why: string;
  /**
   * How far it is from the others of its variant, 0 and more: an order of events that few
   * have comes first, then phases that are far off.
   */
  oddness: number;
  /** What is odd, in a few words; empty if nothing is. */
  odd: string;
  /** The same for repetitions of which the same story is told. */
  signature: string;
  connections: number;
  moments: number;
  /** When it began, counted from the run's start, and how long it took. */
  began: number;
  took: number;
  /** Where it is: the block, and the index in it; and where its events are. */
  block: number;
  index: number;
  eventBlock: number;
  eventIndex: number;
}

/** PhaseStatistics are those of a phase over the repetitions of one variant. */
export interface PhaseStatistics {
  /** "connect.blocked". */
  name: string;
  /** What it means, in a sentence. */
  meaning: string;
  /** 0 for the client's, 1 for the server's, -1 where it is no end's. */
  end: number;
  variant: string;
  /** How many values count: those that nothing bounds are in values, and do not. */
  n: number;
  min: number;
  median: number;
  p90: number;
  p99: number;
  max: number;
  /** The interval that holds the true median with the probability confidence; 0 if there are too few for any. */
  low: number;
  high: number;
  confidence: number;
  /** The largest ± of those that count; null if none does. */
  err: number | null;
  /** Sentences about the figures: too few for an interval, ± larger than the spread. */
  warnings: string[];
  values: PhaseValue[];
}

/** PhaseValue is one measured length of a phase. */
export interface PhaseValue {
  repetition: number;
  connection: number;
  ns: number;
  err: number | null;
}

/** Clock is how the clocks of the hosts were over the run. */
export interface Clock {
  /** Parts per billion: what was assumed that no clock gains more than on another. */
  drift: number;
  wander: number;
  hosts: HostClock[];
  pairs: ClockPair[];
  warnings: string[];
}

/** HostClock is one host's, in the order of Run.hosts. */
export interface HostClock {
  /** Its rate against the reference's, parts per billion; null if nothing is known. */
  rateLow: number | null;
  rateHigh: number | null;
  /** Half-widths over the points by all that is known; null if nothing is. */
  errMedian: number | null;
  errMax: number | null;
  /** Offsets count from this, nanoseconds in decimal: clocks of two machines are far apart. */
  offsetBase: string;
  points: ClockPoint[];
  changes: ClockChange[];
  /** What messages said of the offset, thinned. */
  samples: ClockSample[];
}

/**
 * ClockPoint is what is known at one moment of the run: the offset of the host's clock to
 * the reference's is surely between low and high, by all that is known and by each
 * method alone. A side that nothing bounds is null.
 */
export interface ClockPoint {
  at: number;
  low: number | null;
  high: number | null;
  estimate: number | null;
  probesLow: number | null;
  probesHigh: number | null;
  segmentsLow: number | null;
  segmentsHigh: number | null;
}

/** ClockSample is one message: the offset is surely not beyond offset, on one side. */
export interface ClockSample {
  at: number;
  offset: number;
  /** True if the offset is surely not above, false if it is surely not below. */
  upper: boolean;
  probe: boolean;
}

/** ClockChange is a step, a slew or a suspend that a host reported. */
export interface ClockChange {
  at: number;
  text: string;
}

/** ClockPair is what two hosts told each other directly; a and b index Run.hosts. */
export interface ClockPair {
  a: number;
  b: number;
  probesThere: number;
  probesBack: number;
  segmentsThere: number;
  segmentsBack: number;
  /** The shortest round trip of the probes; 0 if there was none. */
  roundTrip: number;
  /** Not empty: the methods exclude each other, and how. */
  disagreement: string;
}

/** Repetition is one pass through the experiment. Other blocks hold these. */
export interface Repetition {
  n: number;
  variant: string;
  ruling: Ruling;
  /** The zero on the reference's own clock, nanoseconds in decimal. */
  zero: string;
  /** For each host, what Moment.local counts from, nanoseconds in decimal. */
  localBase: string[];
  /** For each host, how its clock was in the middle of this repetition. */
  clocks: RepetitionClock[];
  /** What a reader should know first: who closed, why it was reset, what blocked longest. */
  summary: string[];
  verdicts: Verdict[];
  warnings: string[];
  moments: Moment[];
  connections: Connection[];
  phases: Phase[];
  causes: Cause[];
  notes: Note[];
  layout: Layout;
}

/** RepetitionClock is one host's offset: its clock minus the reference's. */
export interface RepetitionClock {
  method: string;
  /** In the decimal of nanoseconds; empty where nothing bounds that side. */
  low: string;
  high: string;
  messages: number;
}

/** Verdict is the ruling on one expectation. */
export interface Verdict {
  text: string;
  ruling: Ruling;
  /** One sentence with the values; empty for a plain pass. */
  reason: string;
  /** The moments that decided it. */
  moments: number[];
}

/** MomentKind is what a moment is one of. */
export type MomentKind =
  | "call" | "packet" | "trace" | "loss" | "clock" | "change" | "process" | "queue" | "sample" | "mark";

/** Moment is one edge of one event. */
export interface Moment {
  /** Indexes the events of the repetition, which are in a block of their own. */
  event: number;
  host: number;
  kind: MomentKind;
  /** "enter" and "return" of a call, "at" for everything else. */
  edge: "enter" | "return" | "at";
  at: number;
  err: number | null;
  /** Beyond localBase of its host, on the host's own clock. */
  local: number;
  /** local is surely right within this: 0 but for packets, whose stamps are moved from another clock. */
  reading: number;
  /** Counted from 1; 0 if it belongs to none. */
  connection: number;
  /** The experiment's lane and the call, for a call: "client", "connect". */
  lane: string;
  call: string;
  /** The flags of a TCP segment: "SYN+ACK". */
  flags: string;
  /** One line that tells it: "connect B:8080", "connect = 0 in 40.14 ms", "SYN s0 to B:8080". */
  text: string;
  /** The row of the layout that shows it, and the arrow or bracket it is an end of; or -1. */
  row: number;
  arrow: number;
  bracket: number;
}

/** Connection is one TCP connection; its number is its place, counted from 1. */
export interface Connection {
  client: End;
  server: End;
}

/** End is one end of a connection. */
export interface End {
  /** -1 if no host of the run has the address. */
  host: number;
  address: string;
  /** The experiment's names for it: "client", "c"; empty if no call worked on it. */
  lane: string;
  socket: string;
  states: State[];
  /** Why states may not be right, or not all; empty if nothing speaks against them. */
  doubt: string;
}

/** State is a TCP state of an end, from its moment to that of the next one. */
export interface State {
  /** As Linux spells it: "FIN_WAIT1". */
  name: string;
  /** "traced", "packet", "call", "dump", "order". */
  known: string;
  /** What brought it about; -1 where nothing on record did. */
  moment: number;
  /** It surely had not begun at after, and surely had at by; -1 if nothing bounds that side. */
  after: number;
  by: number;
}

/** Phase is a named interval between two moments. */
export interface Phase {
  name: string;
  connection: number;
  end: number;
  from: number;
  to: number;
  ns: number;
  err: number | null;
}

/** Cause is why something happened: an edge between two moments. */
export interface Cause {
  /** The moment that is explained. */
  effect: number;
  /** What brought it about: a call's entry, an arrival, where a timer ran from; -1 if none on record did. */
  by: number;
  /** Why the one leads to the other: "connect() sends a SYN"; empty where none is known. */
  rule: string;
  /** Where that is written: "RFC 9293 3.5". */
  sources: string[];
  known: "observed" | "inferred" | "none known";
  /** True if by surely was not after effect; else their order is not known. */
  ordered: boolean;
  /** The kernel's own word, or what kept a cause from being known; may be empty. */
  why: string;
}

/** Note is one plain sentence about this repetition, tied to its moments. */
export interface Note {
  /** A stable name of its kind, to switch it by. */
  kind: string;
  text: string;
  /** Where the rule is written: "RFC 9293 3.10.7.4". */
  sources: string[];
  /** What it is about, in order; it stands beside the last. */
  moments: number[];
  /** Counted from 1; 0 if it is about none in particular. */
  connection: number;
}

/** Layout is the ladder as Go laid it out. Views draw it and decide nothing. */
export interface Layout {
  lanes: Lane[];
  /** Nanoseconds of the time column's unit, and its decimals. */
  unit: number;
  decimals: number;
  rows: Row[];
  arrows: Arrow[];
  brackets: Bracket[];
  states: StateMark[];
  drops: Drop[];
  bands: Band[];
  spans: StateSpan[];
  /** From time to place and back, one for each scale: "row", "linear", "log". */
  axes: Axis[];
}

/** Lane is a host's column. */
export interface Lane {
  host: number;
  name: string;
  agent: string;
  roles: string[];
  reference: boolean;
  /** The largest number of brackets that are open at once. */
  depth: number;
}

/** RowKind says what a row shows: see the Go type of the same name. */
export type RowKind = "moment" | "label" | "quiet" | "note" | "deed" | "loss" | "state" | "drop" | "trace";

/** Row is one row of the ladder. */
export interface Row {
  kind: RowKind;
  /** -1 for "quiet". */
  lane: number;
  /** The first moment it shows, -1 if none: then it has no time of its own. */
  moment: number;
  /** Never falls; of a row without a time, that of the row beside which it stands. */
  at: number;
  err: number | null;
  /** True if ± is to be shown beside the time. */
  showErr: boolean;
  /** True if this may as well have been before the row above, as far as clocks and messages tell. */
  unordered: boolean;
  arrow: number;
  bracket: number;
  /** The length of a "quiet" row. */
  quiet: number;
  /** The sentence of a "note", a "deed", a "trace" and a "loss". */
  text: string;
  /** Indexes states for "state" and drops for "drop"; -1 for others. */
  mark: number;
}

/** Arrow is one packet on its way between two lanes. */
export interface Arrow {
  /** Counted from 1; 0 if it is of none. */
  connection: number;
  /** Lanes; -1 if no host of the run has the address. */
  from: number;
  to: number;
  /** Rows, -1 if that tap did not see it; label is the row after the departure. */
  departure: number;
  label: number;
  arrival: number;
  /** Moments, likewise. */
  left: number;
  came: number;
  /** Tell the packet, the most important first; drop from the end if room is short. */
  words: string[];
  /** True if both ends were seen and both clocks are tied: delay is then within delayErr. */
  delayed: boolean;
  delay: number;
  delayErr: number;
  lost: boolean;
  duplicate: boolean;
  impossible: boolean;
  ambiguous: boolean;
  /** 0 for the first transmission, 1 for its first retransmission. */
  copy: number;
  /** How many acknowledgments up to this one say the same again (RFC 5681); 0 if it is none. */
  dupAck: number;
  /** True for a RST and for an ICMP error; reason is the kernel's own name of why. */
  reset: boolean;
  reason: string;
  /** True if the kernel itself said that it sent this again. */
  told: boolean;
  /** True for a RST of which the receiver's kernel said that it accepted it. */
  taken: boolean;
  /** True if a kernel said that it dropped it. */
  dropped: boolean;
}

/** Bracket is a call, or several in one row, from entry to return. */
export interface Bracket {
  lane: number;
  /** Counts from 0, the one nearest to the host's line. */
  column: number;
  /** Rows; equal for a call in one row. */
  enter: number;
  return: number;
  /** Moments of its first entry and its last return; -1 if that is not on record. */
  from: number;
  to: number;
  /** The experiment's lane. */
  role: string;
  /** The call with its arguments: "connect B:8080". */
  call: string;
  /** For how many calls it stands. */
  calls: number;
  result: string;
  remark: string;
  /** From entry to return on the host's own clock. */
  took: number;
  /** True for a call that waits for the other side. */
  waits: boolean;
  /** True if something had to release it; released says what, or is empty if nobody knows. */
  blocked: boolean;
  released: string;
  /** The row of that, -1 if it has none. */
  releasedAt: number;
  failed: boolean;
  lab: boolean;
  tidy: boolean;
}

/** StateMark says that an end came to a state. */
export interface StateMark {
  row: number;
  lane: number;
  /** Counted from 1. */
  connection: number;
  /** 0 client, 1 server. */
  end: number;
  /** Tells two ends of one host apart: "server.a"; empty where the lane says it. */
  of: string;
  name: string;
  known: string;
  /** True if the row has the very moment. */
  exact: boolean;
  /** True if states before it are not on record. */
  hole: boolean;
  /** True if it may have begun beyond the rows beside it; after and by are then times as text. */
  wide: boolean;
  after: string;
  by: string;
  /** Not empty: no state, but why the path may not be right. */
  doubt: string;
}

/** Drop is a packet that a kernel dropped. */
export interface Drop {
  row: number;
  lane: number;
  arrow: number;
  connection: number;
  /** "in", "out", or "" if nobody can tell; peer is the lane of the other end or -1. */
  direction: string;
  peer: number;
  words: string[];
  reason: string;
  place: string;
}

/** Band is a time of which a host's record lacks events. */
export interface Band {
  lane: number;
  /** Rows: what is missing happened between the one before first and last. */
  first: number;
  last: number;
  source: string;
  /** 0 where nobody knows how much. */
  count: number;
  where: string;
}

/** StateSpan is the time for which an end was in a state. */
export interface StateSpan {
  lane: number;
  /** Counted from 1. */
  connection: number;
  /** 0 client, 1 server. */
  end: number;
  name: string;
  known: string;
  /** True if the path may not be right. */
  doubtful: boolean;
  /** Rows: where it began, and where the next state did, or the last row if it is open. */
  first: number;
  last: number;
  open: boolean;
}

/**
 * Axis maps time to place and back. A place is a length from the top, in heights of a row:
 * on every scale a ladder of n rows is about n high. Between two knots it is a straight line,
 * and what is later is never above. Two knots may be of one time, none of one place and
 * two times.
 */
export interface Axis {
  name: "row" | "linear" | "log";
  /** The place of each row; length is that of the end. */
  places: Float64Array;
  length: number;
  /** Knots: times (as Row.at), their places, and if the time up to the next is folded. */
  times: Float64Array;
  knots: Float64Array;
  folded: Uint8Array;
}

/** Events of one repetition: protobuf's own JSON of each, by Moment.event. */
export type Events = unknown[];

/**
 * Table is how a list of many alike goes over: a column for each field, which is left out
 * if it would be zero throughout. `n` is the length.
 */
export interface Table {
  n: number;
  columns: Record<string, unknown[]>;
}

/** Columns has the values of each field, one for each row. */
type Columns<T> = { readonly [K in keyof T]-?: readonly T[K][] };

/**
 * unpack makes the list that a table stands for; zero has the values of columns left out. row
 * makes one row as a literal that names every field: one shape for all rows, written once,
 * is several times as fast as setting one field after the other by its name.
 */
function unpack<T extends object>(table: Table, zero: T, row: (c: Columns<T>, i: number) => T): T[] {
  for (const [name, column] of Object.entries(table.columns)) {
    if (!(name in zero)) throw new Error(`the data have a column "${name}" that this page does not know`);
    if (column.length !== table.n) throw new Error(`column "${name}" has ${column.length} of ${table.n} values`);
  }
  const columns = Object.fromEntries(Object.entries(zero).map(([name, value]) => [
    name, table.columns[name] ?? new Array<unknown>(table.n).fill(value),
  ])) as unknown as Columns<T>;
  const rows = new Array<T>(table.n);
  for (let i = 0; i < table.n; i++) rows[i] = row(columns, i);
  return rows;
}

const overview: Overview = {
  n: 0, variant: "", ruling: "no verdict", why: "", oddness: 0, odd: "", signature: "", connections: 0, moments: 0,
  began: 0, took: 0, block: 0, index: 0, eventBlock: 0, eventIndex: 0,
};
const overviewOf = (c: Columns<Overview>, i: number): Overview => ({
  n: c.n[i]!, variant: c.variant[i]!, ruling: c.ruling[i]!, why: c.why[i]!, oddness: c.oddness[i]!, odd: c.odd[i]!,
  signature: c.signature[i]!, connections: c.connections[i]!, moments: c.moments[i]!, began: c.began[i]!,
  took: c.took[i]!, block: c.block[i]!, index: c.index[i]!, eventBlock: c.eventBlock[i]!,
  eventIndex: c.eventIndex[i]!,
});
const phaseValue: PhaseValue = { repetition: 0, connection: 0, ns: 0, err: null };
const phaseValueOf = (c: Columns<PhaseValue>, i: number): PhaseValue => ({
  repetition: c.repetition[i]!, connection: c.connection[i]!, ns: c.ns[i]!, err: c.err[i]!,
});
const clockPoint: ClockPoint = {
  at: 0, low: null, high: null, estimate: null, probesLow: null, probesHigh: null, segmentsLow: null, segmentsHigh: null,
};
const clockPointOf = (c: Columns<ClockPoint>, i: number): ClockPoint => ({
  at: c.at[i]!, low: c.low[i]!, high: c.high[i]!, estimate: c.estimate[i]!, probesLow: c.probesLow[i]!,
  probesHigh: c.probesHigh[i]!, segmentsLow: c.segmentsLow[i]!, segmentsHigh: c.segmentsHigh[i]!,
});
const clockSample: ClockSample = { at: 0, offset: 0, upper: false, probe: false };
const clockSampleOf = (c: Columns<ClockSample>, i: number): ClockSample => ({
  at: c.at[i]!, offset: c.offset[i]!, upper: c.upper[i]!, probe: c.probe[i]!,
});
const moment: Moment = {
  event: 0, host: 0, kind: "mark", edge: "at", at: 0, err: null, local: 0, reading: 0, connection: 0,
  lane: "", call: "", flags: "", text: "", row: 0, arrow: 0, bracket: 0,
};
const momentOf = (c: Columns<Moment>, i: number): Moment => ({
  event: c.event[i]!, host: c.host[i]!, kind: c.kind[i]!, edge: c.edge[i]!, at: c.at[i]!, err: c.err[i]!,
  local: c.local[i]!, reading: c.reading[i]!, connection: c.connection[i]!, lane: c.lane[i]!, call: c.call[i]!,
  flags: c.flags[i]!, text: c.text[i]!, row: c.row[i]!, arrow: c.arrow[i]!, bracket: c.bracket[i]!,
});
const phase: Phase = { name: "", connection: 0, end: 0, from: 0, to: 0, ns: 0, err: null };
const phaseOf = (c: Columns<Phase>, i: number): Phase => ({
  name: c.name[i]!, connection: c.connection[i]!, end: c.end[i]!, from: c.from[i]!, to: c.to[i]!, ns: c.ns[i]!,
  err: c.err[i]!,
});
const cause: Cause = { effect: 0, by: 0, rule: "", sources: [], known: "none known", ordered: false, why: "" };
const causeOf = (c: Columns<Cause>, i: number): Cause => ({
  effect: c.effect[i]!, by: c.by[i]!, rule: c.rule[i]!, sources: c.sources[i]!, known: c.known[i]!,
  ordered: c.ordered[i]!, why: c.why[i]!,
});
const row: Row = {
  kind: "moment", lane: 0, moment: 0, at: 0, err: null, showErr: false, unordered: false,
  arrow: 0, bracket: 0, quiet: 0, text: "", mark: 0,
};
const rowOf = (c: Columns<Row>, i: number): Row => ({
  kind: c.kind[i]!, lane: c.lane[i]!, moment: c.moment[i]!, at: c.at[i]!, err: c.err[i]!, showErr: c.showErr[i]!,
  unordered: c.unordered[i]!, arrow: c.arrow[i]!, bracket: c.bracket[i]!, quiet: c.quiet[i]!, text: c.text[i]!,
  mark: c.mark[i]!,
});
const arrow: Arrow = {
  connection: 0, from: 0, to: 0, departure: 0, label: 0, arrival: 0, left: 0, came: 0, words: [],
  delayed: false, delay: 0, delayErr: 0, lost: false, duplicate: false, impossible: false, ambiguous: false,
  copy: 0, dupAck: 0, reset: false, reason: "", told: false, taken: false, dropped: false,
};
const arrowOf = (c: Columns<Arrow>, i: number): Arrow => ({
  connection: c.connection[i]!, from: c.from[i]!, to: c.to[i]!, departure: c.departure[i]!, label: c.label[i]!,
  arrival: c.arrival[i]!, left: c.left[i]!, came: c.came[i]!, words: c.words[i]!, delayed: c.delayed[i]!,
  delay: c.delay[i]!, delayErr: c.delayErr[i]!, lost: c.lost[i]!, duplicate: c.duplicate[i]!,
  impossible: c.impossible[i]!, ambiguous: c.ambiguous[i]!, copy: c.copy[i]!, dupAck: c.dupAck[i]!,
  reset: c.reset[i]!, reason: c.reason[i]!, told: c.told[i]!, taken: c.taken[i]!, dropped: c.dropped[i]!,
});
const bracket: Bracket = {
  lane: 0, column: 0, enter: 0, return: 0, from: 0, to: 0, role: "", call: "", calls: 0, result: "", remark: "",
  took: 0, waits: false, blocked: false, released: "", releasedAt: 0, failed: false, lab: false, tidy: false,
};
const bracketOf = (c: Columns<Bracket>, i: number): Bracket => ({
  lane: c.lane[i]!, column: c.column[i]!, enter: c.enter[i]!, return: c.return[i]!, from: c.from[i]!, to: c.to[i]!,
  role: c.role[i]!, call: c.call[i]!, calls: c.calls[i]!, result: c.result[i]!, remark: c.remark[i]!,
  took: c.took[i]!, waits: c.waits[i]!, blocked: c.blocked[i]!, released: c.released[i]!,
  releasedAt: c.releasedAt[i]!, failed: c.failed[i]!, lab: c.lab[i]!, tidy: c.tidy[i]!,
});
const stateMark: StateMark = {
  row: 0, lane: 0, connection: 0, end: 0, of: "", name: "", known: "", exact: false, hole: false, wide: false,
  after: "", by: "", doubt: "",
};
const stateMarkOf = (c: Columns<StateMark>, i: number): StateMark => ({
  row: c.row[i]!, lane: c.lane[i]!, connection: c.connection[i]!, end: c.end[i]!, of: c.of[i]!, name: c.name[i]!,
  known: c.known[i]!, exact: c.exact[i]!, hole: c.hole[i]!, wide: c.wide[i]!, after: c.after[i]!, by: c.by[i]!,
  doubt: c.doubt[i]!,
});

const stateSpan: StateSpan = {
  lane: 0, connection: 0, end: 0, name: "", known: "", doubtful: false, first: 0, last: 0, open: false,
};
const stateSpanOf = (c: Columns<StateSpan>, i: number): StateSpan => ({
  lane: c.lane[i]!, connection: c.connection[i]!, end: c.end[i]!, name: c.name[i]!, known: c.known[i]!,
  doubtful: c.doubtful[i]!, first: c.first[i]!, last: c.last[i]!, open: c.open[i]!,
});

/** Packed is T with each of the named lists as a table. */
type Packed<T, K extends keyof T> = Omit<T, K> & Record<K, Table>;
type PackedClock = Omit<Clock, "hosts"> & { hosts: Packed<HostClock, "points" | "samples">[] };
type PackedRun = Omit<Run, "repetitions" | "phases" | "clock"> & {
  repetitions: Table;
  phases: Packed<PhaseStatistics, "values">[];
  clock: PackedClock | null;
};
/** PackedPage is block 0 as JSON has it. */
export type PackedPage = Omit<Page, "runs"> & { runs: PackedRun[] };
/** PackedRepetition is an element of another block as JSON has it. */
export type PackedRepetition = Omit<Packed<Repetition, "moments" | "phases" | "causes">, "layout"> & {
  layout: Omit<Packed<Layout, "rows" | "arrows" | "brackets" | "states" | "spans">, "axes"> & { axes: PackedAxis[] };
};
/**
 * PackedAxis has the rows at which there is a knot, all but the quiet ones if it is empty;
 * their places, the row itself if it is empty; and the rows after which time is folded.
 */
type PackedAxis = { name: Axis["name"]; rows: number[]; places: number[]; folds: number[] };

/** readPage turns block 0 into a Page. */
export function readPage(packed: PackedPage): Page {
  if (packed.schema !== schema) {
    throw new Error(`the data are of schema "${packed.schema}", this page reads "${schema}"`);
  }
  return {
    ...packed,
    runs: packed.runs.map((r) => ({
      ...r,
      repetitions: unpack(r.repetitions, overview, overviewOf),
      phases: r.phases.map((p) => ({ ...p, values: unpack(p.values, phaseValue, phaseValueOf) })),
      clock: r.clock && {
        ...r.clock,
        hosts: r.clock.hosts.map((h) => ({
          ...h, points: unpack(h.points, clockPoint, clockPointOf), samples: unpack(h.samples, clockSample, clockSampleOf),
        })),
      },
    })),
  };
}

/** readAxis puts an axis together from its knots and the rows that it is of. */
function readAxis(packed: PackedAxis, rows: readonly Row[]): Axis {
  const at = packed.rows.length > 0 ? packed.rows : [...rows.keys()].filter((i) => rows[i]!.kind !== "quiet");
  const knots = packed.places.length > 0 ? packed.places : at;
  if (at.length !== knots.length) throw new Error(`axis "${packed.name}" has ${knots.length} places for ${at.length} knots`);
  const times = at.map((i) => {
    const r = rows[i];
    if (r === undefined) throw new Error(`axis "${packed.name}" has a knot at row ${i} of ${rows.length}`);
    return r.at;
  });
  const places = new Float64Array(rows.length);
  for (let i = 0, k = 0; i < rows.length; i++) {
    while (k + 1 < at.length && at[k + 1]! <= i) k++;
    const t = times[k] ?? 0;
    const p = knots[k] ?? 0;
    const span = (times[k + 1] ?? t) - t;
    places[i] = at[k] === i || span <= 0 ? p : p + ((knots[k + 1]! - p) * (rows[i]!.at - t)) / span;
  }
  for (let i = 0; i < rows.length; i++) {
    if (rows[i]!.kind === "quiet") places[i] = ((places[i - 1] ?? 0) + (places[i + 1] ?? places[i - 1] ?? 0)) / 2;
  }
  const ends = new Set(packed.folds);
  const folded = Uint8Array.from(at, (i) => (ends.has(i) ? 1 : 0));
  return {
    name: packed.name, places, length: knots[knots.length - 1] ?? 0,
    times: Float64Array.from(times), knots: Float64Array.from(knots), folded,
  };
}

/**
 * readRepetition turns an element of a block into a Repetition. What the first picture does
 * not need is made when it is first asked for: causes, phases, and the scales but one.
 */
export function readRepetition(packed: PackedRepetition): Repetition {
  const rows = unpack(packed.layout.rows, row, rowOf);
  const layout: Layout = {
    ...packed.layout,
    rows,
    arrows: unpack(packed.layout.arrows, arrow, arrowOf),
    brackets: unpack(packed.layout.brackets, bracket, bracketOf),
    states: unpack(packed.layout.states, stateMark, stateMarkOf),
    spans: unpack(packed.layout.spans, stateSpan, stateSpanOf),
    axes: packed.layout.axes.map((a) => new LazyAxis(a, rows)),
  };
  let phases: Phase[] | undefined;
  let causes: Cause[] | undefined;
  return {
    ...packed,
    layout,
    moments: unpack(packed.moments, moment, momentOf),
    get phases() { return (phases ??= unpack(packed.phases, phase, phaseOf)); },
    get causes() { return (causes ??= unpack(packed.causes, cause, causeOf)); },
  };
}

/** LazyAxis puts an axis together when it is first looked at. */
class LazyAxis implements Axis {
  readonly name: Axis["name"];
  private made: Axis | undefined;

  constructor(private readonly packed: PackedAxis, private readonly rows: readonly Row[]) {
    this.name = packed.name;
  }

  private get axis(): Axis {
    return (this.made ??= readAxis(this.packed, this.rows));
  }

  get places(): Float64Array { return this.axis.places; }
  get length(): number { return this.axis.length; }
  get times(): Float64Array { return this.axis.times; }
  get knots(): Float64Array { return this.axis.knots; }
  get folded(): Uint8Array { return this.axis.folded; }
}

/** localTime is a moment's time on its host's own clock, in decimal, exact. */
export function localTime(r: Repetition, m: Moment): string {
  return (BigInt(r.localBase[m.host] ?? "0") + BigInt(Math.round(m.local))).toString();
}

/**
 * Where the data are in the page: `<script type="application/gzip" id="block-N">` for each
 * block, base64 of gzip of JSON. Block 0 is a PackedPage. Each other one is a list: of
 * PackedRepetition (Overview.block, .index), or of Events (Overview.eventBlock, .eventIndex).
 */
export const blockType = "application/gzip";
export function blockId(n: number): string {
  return `block-${n}`;
}
