/** Words for a shell: in commands that people copy, no name may become a command of its own. */
import { isSeen } from './visible';

/** A command line that a shell reads as these words. */
export function shellCommand(...words: readonly string[]): string {
  return words.map(shellWord).join(' ');
}

/**
 * One word for a POSIX shell: as it is where no shell reads anything into it, else in single
 * quotes; what cannot be seen, in dollar-single-quotes by the octal numbers of its bytes. The
 * same as shellWord of the Go package cli, which says why: cli/testdata/shell_words.json
 * holds both to it.
 */
export function shellWord(word: string): string {
  const [text = ''] = word.split('\0');
  if (/^[\w@%+:,./-]+$/.test(text)) {
    return text;
  }
  const letters = [...text];
  if (letters.every(isPlain)) {
    return `'${text.replaceAll("'", "'\\''")}'`;
  }
  return `$'${letters.map((c) => (c === "'" || c === '\\' ? `\\${c}` : isPlain(c) ? c : octal(c))).join('')}'`;
}

/** What stands for bytes that were no letter is better told as bytes. */
function isPlain(letter: string): boolean {
  return isSeen(letter) && letter !== '\ufffd';
}

function octal(letter: string): string {
  return [...new TextEncoder().encode(letter)].map((b) => `\\${b.toString(8).padStart(3, '0')}`).join('');
}
