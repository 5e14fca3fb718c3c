import { expect, test } from 'vitest';
import type { Overview, Run } from './data';
import { sorted, stories, tallyOf } from './picker';

function overview(n: number, o: Partial<Overview>): Overview {
  return {
    n, variant: '', ruling: 'pass', why: '', oddness: 0, odd: '', signature: 'x', connections: 1, moments: 20, began: 0, took: n, block: 1, index: 0, eventBlock: 2, eventIndex: 0, ...o,
  };
}

const list = [overview(1, {}), overview(2, { ruling: 'fail' }), overview(3, { oddness: 7 }), overview(4, { ruling: 'cannot tell', oddness: 99 }), overview(5, { signature: 'y' })];

test('what failed is first, then what nobody can tell, then what is odd', () => {
  expect(sorted(list, 'oddest').map((o) => o.n)).toEqual([2, 4, 3, 1, 5]);
  expect(sorted(list, 'slowest').map((o) => o.n)).toEqual([5, 4, 3, 2, 1]);
  expect(sorted(list, 'number').map((o) => o.n)).toEqual([1, 2, 3, 4, 5]);
});

test('rulings and stories are counted', () => {
  expect(tallyOf({ repetitions: list } as unknown as Run)).toBe('1 fail, 1 cannot tell, 3 pass of 5 repetitions');
  expect([...stories(list)]).toEqual([['x', 4], ['y', 1]]);
});
