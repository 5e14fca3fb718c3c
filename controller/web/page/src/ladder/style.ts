/**
 * How shapes look. One table for both ways to draw, so that they cannot differ. Colours are
 * names of variables of style.css, which has them for light, dark and print.
 */

export interface Style {
  fill?: string;
  stroke?: string;
  width?: number;
  dash?: readonly number[];
  opacity?: number;
  /** Text only. */
  size?: number;
  weight?: number;
  italic?: boolean;
  /** A seam in this colour around text, so that lines behind it do not hurt. */
  halo?: string;
}

/** Colours of packets, by what they are. Each has words, and some a shape, as well. */
export const packetSorts = ['syn', 'fin', 'rst', 'data', 'ack', 'other'] as const;
export type PacketKind = (typeof packetSorts)[number];

/** Families of TCP states. Their names stand beside them. */
export type StateKind = 'opening' | 'open' | 'closing' | 'closed' | 'passive' | 'waiting';
export const stateSorts: readonly StateKind[] = ['opening', 'open', 'closing', 'closed', 'passive', 'waiting'];

function table(): Record<string, Style> {
  const styles: Record<string, Style> = {
    wire: { stroke: 'wire', width: 1.5 },
    tick: { stroke: 'grid', width: 1 },
    time: { fill: 'muted', size: 11 },
    timeAxis: { fill: 'text', size: 11 },
    call: { fill: 'call', stroke: 'call-edge', width: 1 },
    callBlocked: { fill: 'call-blocked', stroke: 'call-edge', width: 1 },
    callLab: { fill: 'lab', stroke: 'muted', width: 1 },
    callFailed: { fill: 'failed', stroke: 'bad', width: 1.5 },
    callText: { fill: 'text', size: 12, halo: 'surface' },
    callTook: { fill: 'muted', size: 11, halo: 'surface' },
    callBad: { fill: 'bad', size: 12, weight: 600, halo: 'surface' },
    callLabText: { fill: 'muted', size: 12, italic: true, halo: 'surface' },
    release: { stroke: 'call-edge', width: 2 },
    stateText: { fill: 'text', size: 11, weight: 600, halo: 'surface' },
    stateGuess: { fill: 'muted', size: 11, weight: 600, italic: true, halo: 'surface' },
    stateDot: { fill: 'surface', stroke: 'text', width: 1.25 },
    stateDotGuess: { fill: 'surface', stroke: 'muted', width: 1.25, dash: [2, 2] },
    doubt: { fill: 'bad', size: 11, weight: 600, halo: 'surface' },
    drop: { stroke: 'bad', width: 2.5 },
    dropText: { fill: 'bad', size: 11, weight: 600, halo: 'surface' },
    sentence: { fill: 'text', size: 12, italic: true, halo: 'surface' },
    sentenceMark: { fill: 'muted' },
    loss: { fill: 'bad', size: 12, weight: 600, halo: 'surface' },
    band: { fill: 'missing', stroke: 'bad', width: 1, dash: [4, 3], opacity: 0.35 },
    fold: { fill: 'fold' },
    foldEdge: { stroke: 'muted', width: 1, dash: [1, 4] },
    foldText: { fill: 'muted', size: 11, italic: true, halo: 'fold' },
    note: { fill: 'note', stroke: 'note-edge', width: 1 },
    noteText: { fill: 'text', size: 10, weight: 700 },
    delay: { fill: 'muted', size: 10.5, halo: 'surface' },
    lost: { stroke: 'bad', width: 2.5 },
    lostText: { fill: 'bad', size: 11, weight: 700, halo: 'surface' },
    badge: { fill: 'surface', stroke: 'bad', width: 1.5 },
    select: { stroke: 'select', width: 8, opacity: 0.45 },
    selectBox: { stroke: 'select', width: 3 },
    selectLine: { stroke: 'select', width: 1, dash: [5, 4] },
    pinLine: { stroke: 'select', width: 1.5 },
    focus: { stroke: 'focus', width: 2.5 },
    hover: { stroke: 'select', width: 6, opacity: 0.3 },
    cause: { stroke: 'cause', width: 2 },
    causeInferred: { stroke: 'cause', width: 2, dash: [5, 4] },
    causeHead: { fill: 'cause' },
    exception: { stroke: 'bad', width: 2 },
    exceptionUnsure: { stroke: 'bad', width: 2, dash: [3, 4] },
    mark: { stroke: 'measure', width: 1.5 },
    markText: { fill: 'measure', size: 11, weight: 700, halo: 'surface' },
  };
  for (const kind of packetSorts) {
    styles[`arrow-${kind}`] = { stroke: kind, width: kind === 'rst' ? 2.5 : kind === 'ack' ? 1.25 : 1.75 };
    styles[`arrow-${kind}-again`] = { stroke: kind, width: 1.75, dash: [7, 4] };
    styles[`arrow-${kind}-unseen`] = { stroke: kind, width: 1.25, dash: [2, 4] };
    styles[`arrow-${kind}-dense`] = { stroke: kind, width: 1, opacity: 0.45 };
    styles[`head-${kind}`] = { fill: kind, stroke: kind, width: 1 };
    styles[`head-${kind}-open`] = { fill: 'surface', stroke: kind, width: 1.5 };
    styles[`wedge-${kind}`] = { fill: kind, opacity: 0.16 };
    styles[`label-${kind}`] = { fill: `${kind}-text`, size: 12, weight: kind === 'ack' || kind === 'data' ? 400 : 600, halo: 'surface' };
  }
  styles['arrow-impossible'] = { stroke: 'bad', width: 3 };
  styles['head-impossible'] = { fill: 'bad', stroke: 'bad', width: 1 };
  for (const kind of stateSorts) {
    styles[`span-${kind}`] = { fill: `state-${kind}`, stroke: `state-${kind}-edge`, width: 1 };
    styles[`span-${kind}-guess`] = { fill: `state-${kind}`, stroke: `state-${kind}-edge`, width: 1, dash: [3, 2], opacity: 0.6 };
  }
  return styles;
}

export const styles: Readonly<Record<string, Style>> = table();

/** The style of a name; a name that has none is a mistake of the page. */
export function styleOf(name: string): Style {
  const style = styles[name];
  if (style === undefined) {
    throw new Error(`no style "${name}"`);
  }
  return style;
}

/** All variables that the table names. */
export const variables: readonly string[] = [
  ...new Set(Object.values(styles).flatMap((s) => [s.fill, s.stroke, s.halo]).filter((v) => v !== undefined)),
];

/** What a state is like, for its colour. */
export function stateKind(name: string): StateKind {
  switch (name) {
    case 'SYN_SENT':
    case 'SYN_RECV':
      return 'opening';
    case 'ESTABLISHED':
      return 'open';
    case 'FIN_WAIT1':
    case 'FIN_WAIT2':
    case 'CLOSING':
      return 'closing';
    case 'CLOSE_WAIT':
    case 'LAST_ACK':
      return 'passive';
    case 'TIME_WAIT':
      return 'waiting';
  }
  return 'closed';
}

/** What a packet is, for its colour. */
export function packetKind(words: readonly string[], reset: boolean): PacketKind {
  const flags = words[0] ?? '';
  if (reset || flags.includes('RST')) return 'rst';
  if (flags.includes('SYN')) return 'syn';
  if (flags.includes('FIN')) return 'fin';
  if (!/^(ACK|PSH|URG|ECE|CWR|AE|none)\b/.test(flags)) return 'other';
  return words.some((w) => /^len\d/.test(w)) ? 'data' : 'ack';
}
