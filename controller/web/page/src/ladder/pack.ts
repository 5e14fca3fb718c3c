/** Where things go so that they do not lie on each other. */

/** A rectangle in pixels. */
export interface Box {
  x: number;
  y: number;
  w: number;
  h: number;
}

/** Boxes that were placed, found again by stripes of their height. */
export class Placed {
  private readonly stripes = new Map<number, Box[]>();
  private readonly stripe = 32;

  /** Takes the place of a box if it is free, and reports whether it was. */
  take(box: Box): boolean {
    const [top, bottom] = this.range(box);
    for (let s = top; s <= bottom; s++) {
      for (const other of this.stripes.get(s) ?? []) {
        if (box.x < other.x + other.w && other.x < box.x + box.w && box.y < other.y + other.h && other.y < box.y + box.h) {
          return false;
        }
      }
    }
    for (let s = top; s <= bottom; s++) {
      const list = this.stripes.get(s);
      if (list === undefined) {
        this.stripes.set(s, [box]);
      } else {
        list.push(box);
      }
    }
    return true;
  }

  private range(box: Box): [number, number] {
    return [Math.floor(box.y / this.stripe), Math.floor((box.y + box.h) / this.stripe)];
  }
}

/**
 * Columns for intervals such that those of one column do not overlap: for each its column,
 * the lowest that is free. One that begins where another ends does not overlap it. Beyond
 * most columns, all that is left shares the last one.
 */
export function columns(intervals: readonly { from: number; to: number }[], most: number): { column: number[]; count: number } {
  const order = intervals.map((_, i) => i).sort((a, b) => intervals[a]!.from - intervals[b]!.from || a - b);
  const column = new Array<number>(intervals.length).fill(0);
  const ends: number[] = [];
  for (const i of order) {
    const { from, to } = intervals[i]!;
    let c = ends.findIndex((end) => end <= from);
    if (c < 0) {
      c = Math.min(ends.length, most - 1);
    }
    ends[c] = Math.max(ends[c] ?? -Infinity, to);
    column[i] = c;
  }
  return { column, count: ends.length };
}

/** Words that fit into so many characters, the most important first; "" if none does. */
export function fitWords(words: readonly string[], characters: number): string {
  let text = '';
  for (const word of words) {
    const longer = text === '' ? word : `${text} ${word}`;
    if (longer.length > characters) {
      break;
    }
    text = longer;
  }
  return text;
}

/** A text cut to so many characters, with an ellipsis where it was. */
export function fitText(text: string, characters: number): string {
  if (text.length <= characters) {
    return text;
  }
  if (characters < 2) {
    return '';
  }
  // Not within a letter of two halves.
  const end = characters - 1;
  return `${text.slice(0, /[\ud800-\udbff]/.test(text[end - 1]!) ? end - 1 : end).trimEnd()}…`;
}

/** The part of a line that is between two heights; null if none is. */
export function clipLine(
  x0: number, y0: number, x1: number, y1: number, top: number, bottom: number,
): [number, number, number, number] | null {
  if ((y0 < top && y1 < top) || (y0 > bottom && y1 > bottom)) {
    return null;
  }
  const at = (y: number): number => x0 + ((x1 - x0) * (y - y0)) / (y1 - y0);
  const clip = (x: number, y: number): [number, number] => (y < top ? [at(top), top] : y > bottom ? [at(bottom), bottom] : [x, y]);
  return [...clip(x0, y0), ...clip(x1, y1)];
}
