/**
 * How long large pages take. The figures are printed; the limits are wide, because the
 * machine may be busy with other things, and only tell when something is wrong.
 */
import { statSync } from 'node:fs';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { launch, Opened } from './page';

const reports = inject('reports');
let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

function told(what: string, ms: number): void {
  console.info(`${what}: ${ms.toFixed(0)} ms`);
}

/** How long frames take while a page scrolls, ms: the median and the 95th of a hundred. */
async function frames(page: Page, selector: string): Promise<{ median: number; p95: number }> {
  const times = await page.locator(selector).evaluate((el) => new Promise<number[]>((done) => {
    const list: number[] = [];
    let last = performance.now();
    const step = () => {
      const now = performance.now();
      list.push(now - last);
      last = now;
      el.scrollTop += 97;
      if (list.length < 100) requestAnimationFrame(step);
      else done(list.sort((a, b) => a - b));
    };
    requestAnimationFrame(step);
  }));
  return { median: times[50]!, p95: times[95]! };
}

test('a run of 1,000 repetitions', async () => {
  const open = await Opened.open(browser, reports.many);
  const { page } = open;
  told(`1,000 repetitions (${(statSync(reports.many).size / 1e6).toFixed(2)} MB) open`, open.took);
  expect(open.took).toBeLessThan(10_000);
  expect(await page.title()).toContain('@58');
  await page.keyboard.press('r');
  await expect.poll(() => page.locator('#panel-repetitions [role=option]').count()).toBeGreaterThan(5);
  expect(await page.locator('#panel-repetitions [role=option]').count()).toBeLessThan(100);
  const { median, p95 } = await frames(page, '#panel-repetitions [role=listbox]');
  console.info(`scrolling them: ${median.toFixed(1)} ms a frame, 95 % under ${p95.toFixed(1)}`);
  const began = performance.now();
  await page.keyboard.press('p');
  await page.locator('#panel-statistics svg.plot .curve').first().waitFor();
  told('its statistics', performance.now() - began);
  await page.keyboard.press('o');
  await expect.poll(() => page.locator('#panel-compare .progress').textContent(), { timeout: 20_000 }).toMatch(/^\d+ of .*\d repetitions/);
  await page.keyboard.press('c');
  await page.locator('#panel-clocks svg.plot .band').waitFor();
  expect(await page.locator('#panel-clocks svg.plot .sample').count()).toBeGreaterThan(100);
  await page.getByText('less the steady rate').click();
  expect(open.wrongs).toEqual([]);
  await open.close();
});

test('a repetition of 100,000 events', async () => {
  const open = await Opened.open(browser, reports.long, { counted: true });
  const { page } = open;
  told(`100,000 events (${(statSync(reports.long).size / 1e6).toFixed(2)} MB) open`, open.took);
  const opening = await open.cpu();
  told('its thread was busy for', opening);
  expect(opening).toBeLessThan(4_000);
  expect(open.took).toBeLessThan(15_000);
  // The whole at a glance comes when the rest is there.
  await expect.poll(() => page.locator('canvas.minimap').evaluate((el) => {
    const c = el as HTMLCanvasElement;
    return c.getContext('2d')!.getImageData(0, 0, c.width, c.height).data.some((v) => v !== 0);
  })).toBe(true);
  await page.keyboard.press('e');
  const rows = page.locator('#panel-events .sheet .line');
  await expect.poll(() => rows.count()).toBeGreaterThan(8);
  expect(await rows.count()).toBeLessThan(200);
  const filter = async (text: string) => {
    const [began, busy] = [performance.now(), await open.cpu()];
    await page.locator('#filter').fill(text);
    await page.waitForFunction(() => /of 1\d\d,\d\d\d$/.test(document.querySelector('#filter-count')?.textContent ?? ''));
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    const took = performance.now() - began;
    const own = (await open.cpu()) - busy;
    console.info(`${text}: ${took.toFixed(0)} ms, busy for ${own.toFixed(0)}`);
    expect(took).toBeLessThan(15_000);
    expect(own).toBeLessThan(1_500);
  };
  await filter('flags:SYN');
  await filter('flags:SYN mss');
  await page.locator('#filter').fill('');
  const { median, p95 } = await frames(page, '#panel-events [role=grid]');
  console.info(`scrolling its table: ${median.toFixed(1)} ms a frame, 95 % under ${p95.toFixed(1)}`);
  await page.locator('#panel-events [role=grid]').focus();
  await page.keyboard.press('End');
  await expect.poll(() => page.locator('#panel-events .line.selected').count()).toBe(1);
  expect(open.wrongs).toEqual([]);
  await open.close();
});

test('eighty runs in one page', async () => {
  const open = await Opened.open(browser, reports.runs, { counted: true });
  const { page } = open;
  const [began, busy] = [performance.now(), await open.cpu()];
  await page.keyboard.press('p');
  await page.locator('#panel-statistics table.long button').first().waitFor();
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const own = (await open.cpu()) - busy;
  console.info(`statistics of 80 runs: ${(performance.now() - began).toFixed(0)} ms, busy for ${own.toFixed(0)}`);
  expect(own).toBeLessThan(1_500);
  const table = page.locator('#panel-statistics table.long');
  const rows = table.locator('tr[aria-rowindex]');
  expect(await rows.count()).toBeLessThan(200);
  const all = Number(await table.getAttribute('aria-rowcount'));
  expect(all).toBeGreaterThan(500);
  // All are as high as they are taken to be, and the last one comes into sight.
  const heights = await rows.evaluateAll((list) => list.slice(1).map((r) => r.getBoundingClientRect().height));
  expect([...new Set(heights.map((h) => Math.round(h * 4) / 4))]).toEqual([24]);
  const panel = page.locator('#panel-statistics');
  await panel.evaluate((el) => { el.scrollTop = el.scrollHeight; });
  await expect.poll(() => rows.last().getAttribute('aria-rowindex')).toBe(String(all));
  expect(await rows.count()).toBeLessThan(200);
  const last = page.locator('#panel-statistics svg.plot .strip').last();
  await last.scrollIntoViewIfNeeded();
  await expect.poll(() => last.locator('.point').count()).toBe(100);
  expect(await page.locator('#panel-statistics svg.plot .point').count()).toBeLessThan(80 * 100);
  expect(open.wrongs).toEqual([]);
  await open.close();
});
