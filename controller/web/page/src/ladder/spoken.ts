/** The ladder for those who do not see it: a list of its marks in words, of which one is active. */
import { make } from '../elements';
import type { Scene } from './scene';
import { markWords } from './words';

/** How many marks on each side of the active one are in the list at a time. */
const around = 12;

/** Makes the list, which has the focus when the ladder has it. */
export function makeSpoken(): HTMLUListElement {
  return make('ul', { class: 'spoken', role: 'listbox', tabindex: 0, 'aria-label': 'marks of the ladder' });
}

/** Puts the active mark and those around it into the list, in the order of keys. */
export function speak(list: HTMLElement, scene: Scene, active: number): void {
  const at = scene.order.indexOf(active);
  const from = Math.max(0, at - around);
  list.replaceChildren(...scene.order.slice(from, at + around + 1).map((i, k) => make('li', {
    role: 'option', id: `mark-${i}`, 'aria-selected': String(i === active), 'aria-posinset': from + k + 1, 'aria-setsize': scene.order.length,
  }, markWords(scene.marks[i]!, scene))));
  list.setAttribute('aria-activedescendant', `mark-${active}`);
}
