/** The panels beside the ladder, in the order of their tabs. */
import type { Panel } from './app';

export function panels(): Panel[] {
  return [];
}
