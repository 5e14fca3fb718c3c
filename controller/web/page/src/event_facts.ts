/** What an event itself says, in names and words: the TCP header, struct tcp_info, errno. */

import { span } from './time';
import { visible } from './visible';

type Fields = Readonly<Record<string, unknown>>;

/** The facts of an event as protobuf's JSON has it, in the order in which people ask for them. */
export function eventFacts(recorded: unknown): [name: string, value: string][] {
  return factsOf(recorded).map(([name, value]) => [name, visible(value)]);
}

function factsOf(recorded: unknown): [name: string, value: string][] {
  if (!isFields(recorded)) {
    return [];
  }
  // A timeline has the event beside its host.
  const inner = get(recorded, 'event');
  const event = isFields(inner) ? inner : recorded;
  const packet = get(event, 'packet');
  const call = get(event, 'call');
  const trace = get(event, 'trace');
  if (isFields(packet)) {
    return packetFacts(packet);
  }
  if (isFields(call)) {
    return callFacts(call);
  }
  if (isFields(trace)) {
    return [['Source', 'the kernel, by a tracepoint'], ...tcpInfoFacts(get(trace, 'tcp_info'))];
  }
  return [];
}

function packetFacts(p: Fields): [string, string][] {
  const facts: [string, string][] = [];
  const direction = String(get(p, 'direction') ?? '') === 'DIRECTION_OUT' ? 'sent' : 'received';
  facts.push(['Source', `tap of ${String(get(p, 'interface') ?? '?')}, ${direction}`]);
  const protocol = number(p, 'protocol');
  if (number(p, 'arp_operation') === 0 && (protocol === 0 || protocol === 6)) {
    facts.push(['Ports', `${number(p, 'source_port')} → ${number(p, 'destination_port')}`]);
    facts.push(['Flags', flagNames(number(p, 'flags')).join(' ') || 'none']);
    facts.push(['Sequence', `${number(p, 'sequence')}, acknowledges ${number(p, 'acknowledgment')}`]);
    facts.push(['Window', `${number(p, 'window')}, not scaled`]);
    const options = optionNames(bytes(get(p, 'options')));
    if (options.length > 0) {
      facts.push(['Options', options.join(', ')]);
    }
  }
  facts.push(['Payload', `${number(p, 'payload_length')} bytes, ${number(p, 'wire_length')} on the wire`]);
  facts.push(['IP', `TTL ${number(p, 'ttl')}, id ${number(p, 'ip_id')}${get(p, 'dont_fragment') === true ? ', do not fragment' : ''}`]);
  if (number(p, 'segments') > 1) {
    facts.push(['Segments', `${number(p, 'segments')} in one record, by an offload of the host`]);
  }
  return facts;
}

function callFacts(c: Fields): [string, string][] {
  const facts: [string, string][] = [['Source', `system call of lane ${String(get(c, 'lane') ?? '?')}, thread ${number(c, 'thread')}`]];
  const result = get(c, 'result');
  facts.push(['Returned', `${String(result ?? 0)}${number(c, 'errno') > 0 ? `, errno ${number(c, 'errno')} ${String(get(c, 'shown') ?? '')}` : ''}`]);
  for (const [key, name] of [['local_address', 'Own address'], ['peer_address', 'Peer'], ['failure', 'Expected']] as const) {
    const value = get(c, key);
    if (typeof value === 'string' && value !== '') {
      facts.push([name, value]);
    }
  }
  return [...facts, ...tcpInfoFacts(get(c, 'tcp_info'))];
}

/** The bits of RFC 9293 3.1, RFC 3168 and accurate ECN. */
const flagBits = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'AE'];

function flagNames(flags: number): string[] {
  return flagBits.filter((_, i) => (flags & (1 << i)) !== 0);
}

/** TCP options by the registry of IANA; what does not parse ends the list with "?". */
export function optionNames(raw: Uint8Array): string[] {
  const names: string[] = [];
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  for (let i = 0; i < raw.length;) {
    const kind = raw[i]!;
    if (kind === 0) {
      break;
    }
    if (kind === 1) {
      i++;
      continue;
    }
    const length = raw[i + 1];
    if (length === undefined || length < 2 || i + length > raw.length) {
      names.push('?');
      break;
    }
    names.push(optionName(kind, view, i + 2, length - 2));
    i += length;
  }
  return names;
}

function optionName(kind: number, view: DataView, at: number, length: number): string {
  if (kind === 2 && length === 2) return `MSS ${view.getUint16(at)}`;
  if (kind === 3 && length === 1) return `window scale ${view.getUint8(at)}`;
  if (kind === 4) return 'SACK permitted';
  if (kind === 5) {
    const blocks: string[] = [];
    for (let i = 0; i + 8 <= length; i += 8) {
      blocks.push(`${view.getUint32(at + i)}–${view.getUint32(at + i + 4)}`);
    }
    return `SACK ${blocks.join(' ')}`;
  }
  if (kind === 8 && length === 8) return `timestamp ${view.getUint32(at)}, echo ${view.getUint32(at + 4)}`;
  if (kind === 30) return 'MPTCP';
  if (kind === 34) return 'Fast Open';
  return `option ${kind}`;
}

/** States as Linux numbers them, include/net/tcp_states.h. */
const stateNames = [
  '', 'ESTABLISHED', 'SYN_SENT', 'SYN_RECV', 'FIN_WAIT1', 'FIN_WAIT2', 'TIME_WAIT', 'CLOSE', 'CLOSE_WAIT', 'LAST_ACK', 'LISTEN', 'CLOSING', 'NEW_SYN_RECV',
];

/** struct tcp_info of linux/tcp.h, as far as the kernel gave it. Its numbers are of the host, little-endian. */
export function tcpInfoFacts(encoded: unknown): [string, string][] {
  const raw = bytes(encoded);
  if (raw.length < 104) {
    return [];
  }
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const u32 = (at: number): number => view.getUint32(at, true);
  const facts: [string, string][] = [
    ['TCP_INFO state', stateNames[raw[0]!] ?? `state ${raw[0]}`],
    ['RTT', `${span(u32(68) * 1000)}, varies ${span(u32(72) * 1000)}`],
    ['RTO', span(u32(8) * 1000)],
    ['Congestion window', `${u32(80)} segments of ${u32(16)} bytes`],
    ['Not acknowledged', `${u32(24)} segments, ${u32(32)} lost, ${u32(36)} sent again`],
    ['Retransmissions', `${u32(100)} in all, ${raw[2]} of the last`],
  ];
  if (raw.length >= 136) {
    facts.push(['Bytes', `${view.getBigUint64(120, true)} acknowledged, ${view.getBigUint64(128, true)} received`]);
  }
  return facts;
}

/** A field under the name of the .proto file or as JSON has it. */
function get(fields: Fields, name: string): unknown {
  return fields[name] ?? fields[name.replace(/_(\w)/g, (_, c: string) => c.toUpperCase())];
}

function number(fields: Fields, name: string): number {
  const value = get(fields, name);
  return value === undefined ? 0 : Number(value);
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null;
}

function bytes(encoded: unknown): Uint8Array {
  if (typeof encoded !== 'string') {
    return new Uint8Array();
  }
  return Uint8Array.from(atob(encoded.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
}
