/** The list of all keys, and what the signs of the ladder mean. */
import { make } from './elements';
import type { Keys } from './keys';

const signs: readonly [string, string][] = [
  ['● ▶', 'a packet leaves at one host’s tap and arrives at the other’s; under its name the time on the way and its ±'],
  ['◢', 'a pale wedge at the end of an arrow: where it may end, within the ± of the clocks'],
  ['▷', 'an open head: the ± is more than the time on the way, so which end was first is not proven by clocks; or the pair is only the likeliest'],
  ['◆', 'PSH: the sender asks for the data to be handed over'],
  ['┤▶', 'a RST, or an ICMP error, in red'],
  ['╌ ▶', 'a dashed arrow: sent again; R1 is the first time'],
  ['⋯ ?', 'a dotted arrow: one of its ends was heard by no tap'],
  ['╳', 'lost on the way, or dropped by a kernel'],
  ['!', 'impossible: it arrived before it left, for every offset inside the bounds'],
  ['▯▮', 'a call: hollow while it was blocked, filled from what released it to its return'],
  ['▒', 'a band: the TCP state; dashed where it is inferred, solid where the kernel said so'],
  ['⋮', 'a quiet time, folded; Enter or a click opens it'],
  ['~', 'before a time: it may as well have been before the row above'],
  ['[', 'beside the times, in red: the interval of an expectation that did not pass'],
];

export class Help {
  private readonly dialog = make('dialog', { class: 'help', 'aria-labelledby': 'help-title' });

  mount(parent: HTMLElement, keys: Keys): void {
    const groups = new Map<string, [string, string][]>();
    for (const b of keys.all()) {
      const list = groups.get(b.group) ?? [];
      list.push([b.keys.map(shown).join(' '), b.does]);
      groups.set(b.group, list);
    }
    const table = (title: string, rows: readonly [string, string][], tag: 'kbd' | 'span'): HTMLElement => make('section', {},
      make('h3', {}, title),
      make('dl', { class: 'keys' }, ...rows.flatMap(([key, does]) => [make('dt', {}, ...key.split(' ').map((k) => make(tag, {}, k))), make('dd', {}, does)])));
    this.dialog.append(
      make('div', { class: 'help-head' }, make('h2', { id: 'help-title' }, 'Keys and signs'),
        make('button', { type: 'button', 'aria-label': 'close', onclick: () => this.dialog.close() }, '×')),
      make('div', { class: 'help-body', tabindex: 0, role: 'group', 'aria-labelledby': 'help-title' },
        ...[...groups].map(([title, rows]) => table(title, rows, 'kbd')),
        table('Signs of the ladder', signs, 'span'),
        make('section', {}, make('h3', {}, 'Pointer'), make('p', {}, 'The wheel moves, Ctrl and the wheel or a pinch zooms, dragging moves. A click selects, pins and shows what is known.'))));
    this.dialog.addEventListener('click', (e) => {
      if (e.target === this.dialog) {
        this.dialog.close();
      }
    });
    parent.append(this.dialog);
  }

  toggle(): void {
    if (this.dialog.open) {
      this.dialog.close();
    } else {
      this.dialog.showModal();
    }
  }
}

function shown(key: string): string {
  const names: Record<string, string> = { ArrowUp: '↑', ArrowDown: '↓', ArrowLeft: '←', ArrowRight: '→', ' ': 'Space', 'Ctrl+ArrowUp': 'Ctrl+↑', 'Ctrl+ArrowDown': 'Ctrl+↓' };
  return names[key] ?? key;
}
