/**
 * The parts beside the ladder, in the order of their tabs. The shell makes the tabs, and
 * has one place more, above all of them, for the box of the filter (filter_box.ts).
 */
import type { Panel } from './app';

export { FilterBox } from './filter_box';

/** Makes the panels of one page. */
export function panels(): Panel[] {
  return [];
}
