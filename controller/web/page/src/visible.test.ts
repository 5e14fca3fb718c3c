import { expect, test } from 'vitest';
import { directions, isolated, isSeen, visible, visibleJSON, visibleValue } from './visible';

test('what cannot be seen is shown by its number, and all else stays', () => {
  expect(visible('\u202egnp.exe')).toBe('\\u{202e}gnp.exe');
  expect(visible('a\0b\x1b[31mc\x7f\u0085')).toBe('a\\u{0}b\\u{1b}[31mc\\u{7f}\\u{85}');
  expect(visible('\u2066a\u2069\u200f\u061c\ufeff\u00ad\u200b')).toBe('\\u{2066}a\\u{2069}\\u{200f}\\u{61c}\\u{feff}\\u{ad}\\u{200b}');
  expect(visible('half \ud83d, private \ue000, none \u{e0001}')).toBe('half \\u{d83d}, private \\u{e000}, none \\u{e0001}');
  for (const text of ['', 'accept = 0 in 40.14 ms ±38 µs', 'größe 名前 😀 e\u0301', 'line\nline', 'אבג']) expect(visible(text)).toBe(text);
});

test('every bidirectional control is shown', () => {
  for (const c of '\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069') {
    expect(isSeen(c)).toBe(false);
    expect(visible(`a${c}b`)).not.toContain(c);
  }
});

test('JSON stays the same value', () => {
  const value = { 'a\u202e': ['\0\x1b', 'ü', '\u{e0001}'] };
  const shown = visibleJSON(JSON.stringify(value, null, 2));
  expect(JSON.parse(shown)).toEqual(value);
  expect(shown).toContain('"a\\u202e"');
  expect(visible(shown)).toBe(shown);
});

test('a value is gone through only if there is something in it', () => {
  const visibleOf = (value: unknown): unknown => visibleValue(value, JSON.stringify(value));
  const plain = { text: ['connect = 0 ±38 µs', 'a<b>&'], n: 1, none: null };
  expect(visibleOf(plain)).toBe(plain);
  // As Go writes it.
  expect(visibleValue(plain, '{"text":["connect = 0 ±38 µs","a\\u003cb\\u003e\\u0026"],"n":1,"none":null}')).toBe(plain);
  expect(visibleOf({ 'k\u2066': ['a\u202eb', 1, true, null, { x: '\x01' }] })).toEqual({ 'k\\u{2066}': ['a\\u{202e}b', 1, true, null, { x: '\\u{1}' }] });
  for (const c of '\b\f\r\t\v\x00\x7f\u0085\u2028\u202e\ud800') expect(visibleOf([`a${c}`])).toEqual([visible(`a${c}`)]);
});

test('text that runs from right to left stands alone', () => {
  expect(directions('connect = 0')).toEqual(['connect = 0']);
  expect(directions('to אבג דהו: 3 ms')).toEqual(['to ', 'אבג דהו', ': 3 ms']);
  expect(isolated('אב, 12 גד')).toBe('\u2068אב\u2069, 12 \u2068גד\u2069');
  expect(isolated('vm1')).toBe('vm1');
  expect(directions('סֵפֶר 1')).toEqual(['', 'סֵפֶר', ' 1']);
});
