/** What axe finds wrong for people who use a page otherwise: with every panel open, in light and dark. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { launch, Opened } from './page';

const reports = inject('reports');
let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

const panels = ['notes', 'events', 'repetitions', 'statistics', 'measure', 'compare', 'clocks', 'copy'];

test.each(['light', 'dark'] as const)('nothing serious or critical, %s', async (theme) => {
  const open = await Opened.open(browser, reports.two, { theme });
  // Another theme has other colours, and all else is the same.
  const rules = theme === 'light' ? {} : { rules: ['color-contrast'] };
  const found = (await open.axe(rules)).map((f) => `as it opens: ${f}`);
  for (const panel of panels) {
    const tab = open.page.locator(`#tab-${panel}`);
    if (await tab.getAttribute('aria-selected') !== 'true') await tab.click();
    await expect.poll(() => open.page.locator(`#panel-${panel}`).isVisible()).toBe(true);
    found.push(...(await open.axe({ ...rules, part: `#panel-${panel}` })).map((f) => `${panel}: ${f}`));
  }
  await open.page.keyboard.press('t');
  await open.page.locator('#filter').fill('host:nobody flags:SYN');
  found.push(...(await open.axe({ ...rules, part: '.middle' })).map((f) => `table and a filter with an error: ${f}`));
  await open.close();
  expect([...new Set(found)]).toEqual([]);
  expect(open.wrongs).toEqual([]);
});
