/** The heads of the lanes: the hosts, what ran there, and how well their clocks are known. */
import type { Run } from '../data';
import { make } from '../elements';
import { plusMinus } from '../time';
import { timeHead } from './draw_time';
import type { Frame } from './frame';
import type { Scene } from './scene';
import type { Times } from './sketch';

export function headsOf(run: Run, scene: Scene, frame: Frame, times: Times): HTMLElement[] {
  const r = scene.repetition;
  const time = make('div', { class: 'time-head' }, timeHead(r, times));
  time.style.width = `${frame.time - 8}px`;
  return [time, ...r.layout.lanes.map((l, i) => {
    const clock = r.clocks[l.host];
    const tie = l.reference ? "the lab's clock" : run.hosts[l.host]?.sameClock ? 'the same clock' : plusMinus(halfWidth(clock?.low ?? '', clock?.high ?? ''));
    const head = make('div', { class: 'lane-head', title: `${l.name}${l.agent !== l.name ? ` on ${l.agent}` : ''}: ${clock?.method ?? 'nothing is known of its clock'}` },
      make('strong', {}, l.name), make('span', { class: 'roles' }, l.roles.join(', ')), make('span', { class: 'tie' }, tie));
    head.style.left = `${frame.lanes[i]!.x}px`;
    head.style.maxWidth = `${headRoom(frame, i)}px`;
    return head;
  })];
}

/** How wide the head of a lane may be, in pixels: it stands over its line, and not over what its neighbours have. */
export function headRoom(frame: Frame, lane: number): number {
  const { x } = frame.lanes[lane]!;
  const others = frame.lanes.filter((_, i) => i !== lane).map((l) => Math.abs(l.x - x) / 2);
  return Math.max(40, 2 * Math.min(x, frame.width - x, ...others) - 8);
}

/** Half of what lies between two offsets in decimal, rounded up; null where a side is open. */
export function halfWidth(low: string, high: string): number | null {
  return low === '' || high === '' ? null : Number((BigInt(high) - BigInt(low) + 1n) / 2n);
}
