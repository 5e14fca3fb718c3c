/** What a person does with a page, step by step, and that it keeps to itself. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { named as renamed } from './multiply';
import { launch, Opened } from './page';

const reports = inject('reports');
/** Where pictures go that somebody is to look at; nowhere without. */
const pictures = process.env['SCREENSHOTS'] ?? '';

/** How many more times to try what has failed now and then, on a machine with other things to do. */
const again = Number(process.env['REPEATS'] ?? 0);

let browser: Browser;
let open: Opened;

beforeAll(async () => {
  browser = await launch();
  if (pictures !== '') mkdirSync(pictures, { recursive: true });
});
afterAll(() => browser.close());

async function picture(name: string): Promise<void> {
  if (pictures !== '') await open.page.screenshot({ path: join(pictures, `${name}.png`) });
}

describe('a page from file://', () => {
  beforeEach(async () => {
    open = await Opened.open(browser, reports.small);
  });
  afterEach(async () => {
    // Whatever was done: no error, no warning, nothing asked of any network.
    expect(open.wrongs).toEqual([]);
    await open.close();
  });

  test('shows the repetition that its data name as the worst', async () => {
    await picture('open');
    expect(await open.page.title()).toMatch(/@\d+ · .* · syncline$/);
    expect(await open.page.locator('.ladder-body svg.picture *').count()).toBeGreaterThan(20);
    expect(await open.page.locator('.alert').count()).toBe(0);
  });

  test('zooms by keys and by wheel, and back', async () => {
    const { page } = open;
    await page.keyboard.press('+');
    const near = range(await open.chosen('range'));
    await page.keyboard.press('+');
    const nearer = range(await open.chosen('range', (v) => v !== null && range(v) < near));
    expect(nearer).toBeLessThan(near);
    const box = (await page.locator('.ladder-body').boundingBox())!;
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.keyboard.down('Control');
    await page.mouse.wheel(0, -400);
    await page.keyboard.up('Control');
    await open.chosen('range', (v) => v !== null && range(v) < nearer);
    await page.keyboard.press('0');
    await open.chosen('range', (v) => v === null || range(v) >= near);
  });

  test('filters ladder and table alike, counts, and tells what it does not understand', async () => {
    const { page } = open;
    await page.keyboard.press('e');
    const rows = page.locator('#panel-events .sheet .line');
    await expect.poll(() => rows.count()).toBeGreaterThan(8);
    await page.keyboard.press('/');
    await page.keyboard.type('flags:SYN');
    await expect.poll(() => page.locator('#filter-count').textContent()).toMatch(/^\d+ of \d+$/);
    const [found, all] = ((await page.locator('#filter-count').textContent()) ?? '').split(' of ').map(Number);
    expect(found).toBeGreaterThan(0);
    expect(found).toBeLessThan(all!);
    expect(await page.locator('#panel-events .sheet .line.dim').count()).toBeGreaterThan(0);
    await page.getByLabel('hide the rest').check();
    await expect.poll(() => rows.count()).toBe(found);
    await page.getByLabel('± 3 around').check();
    await expect.poll(() => rows.count()).toBeGreaterThan(found!);
    expect(await page.locator('#filter').inputValue()).toBe('flags:SYN around:3');
    await picture('filter');
    // A chip takes its term away.
    await page.getByLabel('remove around:3 from the filter').click();
    await expect.poll(() => rows.count()).toBe(found);
    await page.locator('#filter').fill('host:nobody');
    await expect.poll(() => page.locator('#filter-trouble').textContent()).toMatch(/^unknown host "nobody"/);
    expect(await page.locator('#filter').getAttribute('aria-invalid')).toBe('true');
    await page.locator('#filter').press('Escape');
    await expect.poll(() => page.locator('#filter').inputValue()).toBe('');
  });

  test('goes from hit to hit', async () => {
    const { page } = open;
    await page.keyboard.press('/');
    await page.keyboard.type('kind:packet');
    await page.keyboard.press('Enter');
    const first = await open.chosen('at');
    await page.locator('#filter').press('Tab');
    await page.keyboard.press('n');
    const second = await open.chosen('at', (v) => v !== null && v !== first);
    expect(Number(second)).toBeGreaterThan(Number(first));
    await page.keyboard.press('N');
    expect(await open.chosen('at', (v) => v === first)).toBe(first);
  });

  test('measures between two moments, and says how sure that is', { repeats: again }, async () => {
    const { page } = open;
    await page.keyboard.press('e');
    const grid = page.locator('#panel-events [role=grid]');
    await grid.focus();
    await page.keyboard.press('Home');
    await open.chosen('at', (v) => v === '0');
    await page.keyboard.press('x');
    await open.chosen('from', (v) => v === '0');
    // A call's entry and its return are of one clock.
    await page.keyboard.press('ArrowDown');
    const other = await otherHost();
    await page.keyboard.press('m');
    const delta = page.locator('#panel-measure .delta');
    await expect.poll(() => delta.textContent()).toMatch(/^Δ .*exactly/);
    await expect.poll(() => page.locator('#panel-measure').textContent()).toContain('one clock');
    await picture('measure');
    // The link that is changed must be of this view, which the address holds a little later.
    await open.chosen('panel', (v) => v === 'measure');
    await open.chosen('at', (v) => v === '1');
    await page.goto(`${page.url().replace(/at=\d+/, `at=${other}`)}`);
    await expect.poll(() => delta.textContent()).toMatch(/^Δ .*(±|not known)/);
    await page.keyboard.press('z');
    await open.chosen('zero', (v) => v === String(other));
  });

  /** The first moment of another host than the first. */
  async function otherHost(): Promise<number> {
    const { page } = open;
    const hosts = await page.locator('#panel-events .sheet .line').evaluateAll((lines) => lines.map((l) => [l.getAttribute('data-moment'), l.querySelector('.c1')?.textContent] as const));
    const first = hosts[0]![1];
    return Number(hosts.find(([, host]) => host !== first)![0]);
  }

  test('switches between aligned and raw times', async () => {
    const { page } = open;
    await page.keyboard.press('c');
    await page.getByLabel("raw, each host's own clock").check();
    await open.chosen('times', (v) => v === 'raw');
    await page.keyboard.press('e');
    await expect.poll(() => page.locator('#panel-events .c0').first().textContent()).toContain('own clock');
    await picture('raw');
    await page.keyboard.press('u');
    await open.chosen('times', (v) => v === null);
    await expect.poll(() => page.locator('#panel-events .c0').first().textContent()).toMatch(/^t\//);
  });

  test('picks another repetition, and comes back by a link', async () => {
    const { page } = open;
    const before = await page.title();
    await page.keyboard.press('r');
    await page.locator('#panel-repetitions [role=option][aria-selected=false]').first().click();
    await expect.poll(() => page.title()).not.toBe(before);
    await open.drawn();
    await open.chosen('rep');
    const link = page.url();
    const there = await page.title();
    await page.keyboard.press('[');
    await page.keyboard.press(']');
    await page.goto('about:blank');
    await page.goto(link);
    await open.drawn();
    expect(await page.title()).toBe(there);
  });

  test('holds a link that is opened right after a choice', { repeats: again }, async () => {
    const { page } = open;
    await page.keyboard.press('e');
    await page.locator('#panel-events [role=grid]').focus();
    await page.keyboard.press('Home');
    await open.chosen('at', (v) => v === '0');
    // The choice, and in the same turn the link: what the choice has still to write would undo it.
    await page.locator('#panel-events [role=grid]').evaluate((grid) => {
      grid.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true }));
      location.hash = '#at=5&panel=events';
    });
    await expect.poll(() => page.locator('#panel-events .line.selected').getAttribute('data-moment')).toBe('5');
    // Another choice is written after all that was to be written before it.
    await page.keyboard.press('m');
    await open.chosen('panel', (v) => v === 'measure');
    expect(await open.chosen('at')).toBe('5');
  });

  test('opens a link to moments that it does not have', async () => {
    const { page } = open;
    await page.goto(`${page.url().split('#')[0]}#at=99999&from=88888&pin=77777&zero=66666&conn=55&panel=measure`);
    await page.reload();
    await open.drawn();
    for (const name of ['at', 'from', 'pin', 'zero', 'conn']) await open.chosen(name, (v) => v === null);
    await expect.poll(() => page.locator('#panel-measure').textContent()).toContain('Select a moment');
    await page.evaluate(() => { location.hash = '#at=99998&from=1&panel=measure'; });
    await open.chosen('from', (v) => v === '1');
    await open.chosen('at', (v) => v === null);
    expect(await page.locator('.alert').count()).toBe(0);
  });

  test('shows what brought a moment about', async () => {
    const { page } = open;
    await page.goto(`${page.url().split('#')[0]}#filter=flags%3A%3DSYN%2BACK`);
    await page.reload();
    await open.drawn();
    await page.keyboard.press('n');
    await page.keyboard.press('v');
    await page.keyboard.press('v');
    await expect.poll(() => page.locator('#panel-notes .causes li').count()).toBeGreaterThan(0);
    await picture('causes');
  });

  test('compares with another repetition', async () => {
    const { page } = open;
    await page.keyboard.press('o');
    await page.getByRole('button', { name: 'With a usual one' }).click();
    await open.chosen('with');
    await page.getByLabel('changes only').uncheck();
    await expect.poll(() => page.locator('.comparison tbody tr').count()).toBeGreaterThan(8);
    await picture('compare');
  });

  test('is used by keys alone', async () => {
    const { page } = open;
    await page.keyboard.press('?');
    await expect.poll(() => page.locator('dialog[open]').count()).toBe(1);
    await picture('help');
    await page.keyboard.press('Escape');
    await expect.poll(() => page.locator('dialog[open]').count()).toBe(0);
    const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.getAttribute('aria-label') || document.activeElement?.textContent || '');
    const reached = new Set<string>();
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press('Tab');
      reached.add(await focused());
    }
    for (const name of ['filter', 'marks of the ladder']) expect([...reached]).toContain(name);
    expect([...reached].some((r) => r.startsWith('tab-'))).toBe(true);
    for (let i = 0; i < 60 && await focused() !== 'marks of the ladder'; i++) await page.keyboard.press('Tab');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    await open.chosen('at');
    await page.keyboard.press('Enter');
    await open.chosen('pin');
    await expect.poll(() => page.locator('.details pre').textContent()).toContain('{');
    await page.keyboard.press('Escape');
    await open.chosen('pin', (v) => v === null);
  });

  test('has a table instead of the picture', async () => {
    const { page } = open;
    await page.keyboard.press('t');
    await open.chosen('form', (v) => v === 'table');
    await expect.poll(() => page.locator('[aria-label="events as a table"] [role=row]').count()).toBeGreaterThan(8);
  });

  test('gives its ladder as SVG and PNG', async () => {
    const { page } = open;
    await page.keyboard.press('C');
    for (const [button, name] of [['Save SVG', /\.svg$/], ['Save PNG', /\.png$/]] as const) {
      const download = page.waitForEvent('download');
      await page.getByRole('button', { name: button }).click();
      expect((await download).suggestedFilename()).toMatch(name);
    }
    expect(await page.locator('#panel-copy code').allTextContents()).toContainEqual(expect.stringMatching(/^syncline ladder .*@\d+/));
  });
});

function range(text: string | null): number {
  const [low = NaN, high = NaN] = (text ?? '').split('..').map(Number);
  return high - low;
}

describe('two runs in one page', () => {
  test('are compared by their phases', async () => {
    open = await Opened.open(browser, reports.two);
    await open.page.keyboard.press('p');
    await expect.poll(() => open.page.locator('#panel-statistics svg.plot').count()).toBe(1);
    await picture('statistics-two');
    await open.page.getByText('The picture as a table').click();
    await expect.poll(() => open.page.locator('#panel-statistics details table').count()).toBeGreaterThan(0);
    expect(open.wrongs).toEqual([]);
    await open.close();
  });
});

describe('names of others', () => {
  const names = { 'turns directions': '\u202egnp.exe \u2066x', 'is very long': 'long'.repeat(1250), 'runs from right to left': '\u05d0\u05d1\u05d2 7' };
  for (const [what, name] of Object.entries(names)) {
    test(`that one ${what} moves nothing`, async () => {
      const file = join(dirname(reports.small), 'named.html');
      writeFileSync(file, renamed(readFileSync(reports.small, 'utf8'), name));
      open = await Opened.open(browser, file);
      const { page } = open;
      for (const key of ['e', 'r', 'p', 'm', 'o', 'c', 'C']) {
        await page.keyboard.press(key);
        const seen = await page.evaluate(() => ({
          text: document.body.innerText, wide: document.documentElement.scrollWidth, room: innerWidth,
          body: document.querySelector('.ladder-body')!.getBoundingClientRect().height, title: document.title,
        }));
        expect(seen.text + seen.title).not.toMatch(/[\u202a-\u202e\u2066\u2067]/);
        expect(seen.wide).toBeLessThanOrEqual(seen.room);
        expect(seen.body).toBeGreaterThan(250);
        expect(seen.title.length).toBeLessThan(300);
      }
      const heads = await page.locator('.lane-head').evaluateAll((all) => all.map((h) => h.getBoundingClientRect()).map((b) => [b.left, b.right] as const));
      for (let i = 1; i < heads.length; i++) expect(heads[i]![0]).toBeGreaterThanOrEqual(heads[i - 1]![1]);
      // A command has the very name, for a shell.
      const command = await page.locator('#panel-copy code').first().textContent();
      expect(command).toContain(name.startsWith('\u202e') ? "$'\\342\\200\\256gnp.exe" : name);
      if (name.startsWith('\u05d0')) expect(await page.locator('header .run bdi').first().textContent()).toBe('\u05d0\u05d1\u05d2');
      await picture(`name-${what.replaceAll(' ', '-')}`);
      expect(open.wrongs).toEqual([]);
      await open.close();
    });
  }
});

describe('every phase has its picture', () => {
  for (const which of ['small', 'two', 'many', 'spread'] as const) {
    test(`of ${which}`, async () => {
      open = await Opened.open(browser, reports[which], { hash: 'panel=statistics' });
      const phases = open.page.locator('#panel-statistics .phases button');
      const n = await phases.count();
      expect(n).toBeGreaterThan(0);
      for (let i = 0; i < n; i++) {
        await phases.nth(i).click();
        expect(await open.page.locator('#panel-statistics svg.plot').innerHTML()).not.toContain('NaN');
      }
      expect(open.wrongs).toEqual([]);
      await open.close();
    });
  }
});
