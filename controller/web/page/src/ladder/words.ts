/** Marks in words: for those who do not see the picture, and beside the pointer. */
import type { Arrow, Repetition } from '../data';
import { localTime } from '../data';
import { groupedNanoseconds, plusMinus, span } from '../time';
import type { Mark, Scene } from './scene';

/** How a state is known, in words. */
export const knownWords: Readonly<Record<string, string>> = {
  traced: 'the kernel said so', packet: 'inferred from packets', call: 'inferred from calls', dump: 'read from a dump of sockets',
  order: 'must have been passed on the way',
};

/** A mark in a sentence. */
export function markWords(mark: Mark, scene: Scene): string {
  const r = scene.repetition;
  const { layout } = r;
  switch (mark.kind) {
    case 'arrow':
      return arrowWords(layout.arrows[mark.ref]!, r);
    case 'call': {
      const b = layout.brackets[mark.ref]!;
      const parts = [`${laneName(r, b.lane)}, ${b.role}: ${b.call}`];
      if (b.from >= 0) parts.push(`begins at ${timeWords(r, b.from)}`);
      parts.push(b.to < 0 ? 'its return is not on record' : b.calls > 1 ? `${b.calls} calls` : `gave ${b.result || 'nothing'} after ${span(b.took)}`);
      if (b.remark !== '') parts.push(b.remark);
      if (b.blocked) parts.push(b.released === '' ? 'was blocked, and what released it is not known' : `was blocked, until: ${b.released}`);
      if (b.failed) parts.push('not what the experiment expects');
      if (b.lab && !b.tidy) parts.push("the lab's own step");
      if (b.tidy) parts.push('made by the lab to tidy up');
      return parts.join('; ');
    }
    case 'span': {
      const s = layout.spans[mark.ref]!;
      const end = s.open ? 'to the end' : `to row ${s.last + 1}`;
      const length = layout.rows[s.last]!.at - layout.rows[s.first]!.at;
      return `${laneName(r, s.lane)}, connection ${s.connection}, ${s.end === 0 ? 'client' : 'server'}: ${s.name} ${s.open ? end : `for about ${span(length)}`}; ${knownWords[s.known] ?? s.known}${s.doubtful ? '; in doubt' : ''}`;
    }
    case 'state': {
      const s = layout.states[mark.ref]!;
      if (s.doubt !== '') {
        return `${laneName(r, s.lane)}: states in doubt: ${s.doubt}`;
      }
      const parts = [`${laneName(r, s.lane)}${s.of === '' ? '' : ` ${s.of}`} comes to ${s.name}`];
      if (mark.moments.length > 0) parts.push(`at ${timeWords(r, mark.moments[0]!)}`);
      parts.push(knownWords[s.known] ?? s.known);
      if (s.hole) parts.push('states before it are not on record');
      if (s.wide) parts.push([s.after === '' ? '' : `surely not before ${s.after}`, s.by === '' ? '' : `surely by ${s.by}`].filter((t) => t !== '').join(', '));
      return parts.join('; ');
    }
    case 'drop': {
      const d = layout.drops[mark.ref]!;
      const parts = [`the kernel of ${laneName(r, d.lane)} dropped ${d.words.join(' ')}`];
      if (d.reason !== '') parts.push(`because: ${d.reason}`);
      if (d.place !== '') parts.push(`in ${d.place}`);
      return parts.join('; ');
    }
    case 'sentence': {
      const row = layout.rows[mark.ref]!;
      return row.moment >= 0 ? `${row.text}; at ${timeWords(r, row.moment)}` : row.text;
    }
    case 'band': {
      const b = layout.bands[mark.ref]!;
      const what = b.count > 0 ? `${b.count.toLocaleString('en')} events of ${b.source}` : 'what happened';
      return `${laneName(r, b.lane)}: ${what} in this time is not on record${b.where === '' ? '' : ` (${b.where})`}`;
    }
    case 'fold': {
      const [p, q] = [scene.places.knots[mark.ref]!, scene.places.knots[mark.ref + 1]!];
      return `${span(q.at - p.at)} quiet; Enter ${scene.options.open.has(mark.ref) ? 'folds it' : 'opens it'}`;
    }
    case 'note': {
      const n = r.notes[mark.ref]!;
      return `Note ${mark.ref + 1}: ${n.text}${n.sources.length === 0 ? '' : ` (${n.sources.join(', ')})`}`;
    }
  }
}

function arrowWords(a: Arrow, r: Repetition): string {
  const parts = [`${a.words.join(' ')} from ${laneName(r, a.from)} to ${laneName(r, a.to)}`];
  if (a.left >= 0) parts.push(`leaves at ${timeWords(r, a.left)}`);
  else parts.push('no tap saw it leave');
  if (a.came >= 0) parts.push(`arrives at ${timeWords(r, a.came)}`);
  else if (a.lost) parts.push('lost on the way');
  else if (a.dropped) parts.push('dropped by a kernel');
  else parts.push('no tap saw it arrive');
  if (a.delayed) parts.push(`${span(a.delay)} ${plusMinus(a.delayErr)} on the way${a.delayErr > a.delay ? ': less than is known of the clocks, so the order is not proven' : ''}`);
  if (a.copy > 0) parts.push(`retransmission ${a.copy}${a.told ? ', as the kernel says' : ''}`);
  if (a.dupAck > 0) parts.push(`duplicate acknowledgment ${a.dupAck}`);
  if (a.duplicate) parts.push('delivered twice');
  if (a.ambiguous) parts.push('only the likeliest pair');
  if (a.impossible) parts.push('impossible: it arrives before it left for every offset inside the bounds');
  if (a.reason !== '') parts.push(`the kernel's reason: ${a.reason}`);
  if (a.taken) parts.push('the kernel that received it says that it accepted it');
  return parts.join('; ');
}

export function laneName(r: Repetition, lane: number): string {
  return r.layout.lanes[lane]?.name ?? 'a host that is none of the run';
}

/** A moment's time on the lab's clock with its ±: "20.05 ms ±40 µs". */
export function timeWords(r: Repetition, moment: number): string {
  const m = r.moments[moment]!;
  return m.err === 0 ? span(m.at) : `${span(m.at)} ${plusMinus(m.err)}`;
}

/** A moment's time on its host's own clock, to the nanosecond. */
export function ownTime(r: Repetition, moment: number): string {
  const m = r.moments[moment]!;
  const text = groupedNanoseconds(localTime(r, m));
  return m.reading > 0 ? `${text} ${plusMinus(m.reading)}` : text;
}
