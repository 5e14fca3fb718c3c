import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { shellCommand, shellWord } from './shell_word';

const table = JSON.parse(readFileSync(resolve(import.meta.dirname, '../../../../cli/testdata/shell_words.json'), 'utf8')) as { word: string; written: string }[];

test.each(table)('$word is written $written', ({ word, written }) => {
  expect(shellWord(word)).toBe(written);
});

test('the table has words', () => {
  expect(table.length).toBeGreaterThan(10);
});

test('half of a letter is none', () => {
  expect(shellWord('\ud83d')).toBe("$'\\357\\277\\275'");
});

test('words stand beside each other', () => {
  expect(shellCommand('syncline', 'ladder', 'a b@1')).toBe("syncline ladder 'a b@1'");
});
