/**
 * Text that others have written: names of machines, of files, of what a process sent. None
 * of it may hide a letter, move what stands beside it, or show as something else than it is.
 * The pictures that Go draws keep the same rules: escape in controller/web/write.go.
 */

/** Letters, marks, digits, punctuation, symbols and the blank: what Go's unicode.IsPrint holds for seen. */
const seen = '\\p{L}\\p{M}\\p{N}\\p{P}\\p{S} ';

const seenLetter = new RegExp(`^[${seen}]$`, 'u');
/** Controls, marks of direction, blanks that are none, letters that no standard has: but for ends of lines. */
const unseen = new RegExp(`[^${seen}\\n]`, 'gu');

/** Reports whether a letter has a shape of its own, or is the blank. */
export function isSeen(letter: string): boolean {
  return seenLetter.test(letter);
}

/** The text with everything that cannot be seen shown by its number: "\u{202e}". */
export function visible(text: string): string {
  return text.replace(unseen, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`);
}

/** JSON with everything that cannot be seen shown as JSON itself can write it: the value stays the same. */
export function visibleJSON(json: string): string {
  return json.replace(unseen, (c) => Array.from({ length: c.length }, (_, i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''));
}

/**
 * Finds what may hide in a text of JSON: whatever is not ASCII nor what this program itself
 * writes, and escapes. It may find what is harmless, and then a block is gone through for
 * nothing; it does not miss what is not.
 */
const doubtful = /[^\x20-\x7e\n±µ→←⇄·×÷–—−…≤≥≠✓✗∅§]|\\(?:[bfrt]|u(?!00(?:26|3[ce])))/i;

/**
 * A value of JSON with all its strings visible. json is its text. What has nothing to hide is
 * returned as it is, and else a copy.
 */
export function visibleValue<T>(value: T, json: string): T {
  return doubtful.test(json) ? (walked(value) as T) : value;
}

function walked(value: unknown): unknown {
  if (typeof value === 'string') return visible(value);
  if (Array.isArray(value)) return value.map(walked);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [visible(key), walked(v)]));
}

/** Letters of scripts that run from right to left: the blocks that Unicode has set aside for them. */
const rtl = '\\u0590-\\u08ff\\ufb1d-\\ufdff\\ufe70-\\ufefc\\u{10800}-\\u{10fff}\\u{1e800}-\\u{1efff}';
const someRTL = new RegExp(`[${rtl}]`, 'u');
const stretch = new RegExp(`([${rtl}](?:[${rtl}\\p{M}]| (?=[${rtl}]))*)`, 'u');

/**
 * A text cut where its direction turns: every second piece, from the second on, is of a script
 * that runs from right to left. A number beside such a name would otherwise change places with
 * it (Unicode Standard Annex 9).
 */
export function directions(text: string): string[] {
  return someRTL.test(text) ? text.split(stretch) : [text];
}

/** The same in one text, for where there are no elements: each such piece between FSI and PDI. */
export function isolated(text: string): string {
  return directions(text).map((piece, i) => (i % 2 === 1 ? `\u2068${piece}\u2069` : piece)).join('');
}
