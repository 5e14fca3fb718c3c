import { expect, test } from 'vitest';
import { widthsOf } from './long_table';

test('a column is as wide as what is in it, up to a limit, wherever that stands', () => {
  const rows = Array.from({ length: 1000 }, (_, i) => [i === 999 ? 'the longest of all' : 'x', '1', 'y'.repeat(i)]);
  expect(widthsOf(['phase', 'n', 'max'], rows)).toEqual([18, 1, 32]);
  expect(widthsOf(['phase', 'n'], [])).toEqual([5, 1]);
});
