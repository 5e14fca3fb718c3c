/** Which rows of a long table are in sight: only those are ever made. */

/**
 * The tallest element that is made, in pixels. Browsers stop at different heights, the
 * lowest at 17.8 million; a table that would be taller is scrolled in proportion.
 */
export const tallest = 10_000_000;

/** A part of a table: rows from first up to, without, last. */
export interface Window {
  readonly first: number;
  readonly last: number;
  /** Where the first of them is to stand, in pixels from the top of the scrolled element. */
  readonly top: number;
  /** The height of the scrolled element. */
  readonly height: number;
}

/**
 * The rows to draw for a scroll position. Some more than are in sight are drawn on either
 * side, so that a small scroll shows no gap before the next frame.
 */
export function windowOf(scroll: number, viewport: number, count: number, rowHeight: number, margin = 8): Window {
  const full = count * rowHeight;
  const height = Math.min(full, tallest);
  const room = Math.max(0, height - viewport);
  const at = Math.min(Math.max(0, scroll), room);
  // What the position means in a table of full height.
  const real = room === 0 ? 0 : (at / room) * Math.max(0, full - viewport);
  const first = Math.max(0, Math.floor(real / rowHeight) - margin);
  const last = Math.min(count, Math.ceil((real + viewport) / rowHeight) + margin);
  return { first, last, top: at - real + first * rowHeight, height };
}

/** The scroll position, nearest to the one now, at which a row is in sight as a whole. */
export function scrollTo(row: number, scroll: number, viewport: number, count: number, rowHeight: number): number {
  const full = count * rowHeight;
  const room = Math.max(0, Math.min(full, tallest) - viewport);
  const realRoom = Math.max(0, full - viewport);
  if (room === 0) return 0;
  const stretch = realRoom / room;
  const real = Math.min(Math.max(0, scroll), room) * stretch;
  const top = row * rowHeight;
  const wanted = top < real ? top : Math.max(real, top + rowHeight - viewport);
  return Math.min(wanted, realRoom) / stretch;
}
