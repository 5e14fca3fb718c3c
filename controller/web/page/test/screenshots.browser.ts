/** The pictures of screenshots/, when $SCREENSHOTS names a directory: look at them before they are committed. */
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { launch, type Look, Opened } from './page';

const reports = inject('reports');
const directory = process.env['SCREENSHOTS'] ?? '';

test.skipIf(directory === '')('pictures for documentation', async () => {
  const browser = await launch();
  const take = async (name: string, file: string, look: Look, prepare: (o: Opened) => Promise<void> = async () => {}) => {
    const open = await Opened.open(browser, file, { width: 1360, height: 850, ...look });
    await prepare(open);
    await open.drawn();
    await open.page.screenshot({ path: join(directory, `${name}.png`) });
    expect(open.wrongs).toEqual([]);
    await open.close();
  };
  await take('ladder', reports.measured, {});
  await take('ladder-dark', reports.pictured, { theme: 'dark', hash: 'scale=linear&panel=events&filter=flags:RST' }, async ({ page }) => {
    await page.keyboard.press('n');
    await page.keyboard.press('Enter');
    await page.locator('.details pre').waitFor();
  });
  await take('statistics', reports.measured, { hash: 'panel=statistics' }, ({ page }) => page.locator('svg.plot .point').first().waitFor());
  await browser.close();
});
