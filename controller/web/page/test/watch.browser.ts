/** The watch over pages sees what it is there to see: a test that cannot fail shows nothing. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { Browser } from 'playwright-core';
import { launch, Opened } from './page';

const { small } = inject('reports');
const spoiled = join(dirname(small), 'spoiled.html');
let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
afterAll(async () => {
  await browser.close();
  rmSync(spoiled, { force: true });
});

/** Opens the page with something in its body that should not be there. */
async function open(html: string, policy = true): Promise<Opened> {
  const text = readFileSync(small, 'utf8').replace('<div id="page">', `${html}<div id="page">`);
  writeFileSync(spoiled, policy ? text : text.replace(/<meta http-equiv="Content-Security-Policy"[^>]*>/, ''));
  return Opened.open(browser, spoiled);
}

test("the page's policy stops pictures, scripts and styles from elsewhere, and the watch tells", async () => {
  const o = await open('<img alt="" src="http://127.0.0.1:9/seen.png"><script>console.log("run")</script><style>body { color: red }</style>');
  const said = o.wrongs.join('\n');
  for (const part of ['img-src', 'script-src', 'style-src']) expect(said).toContain(part);
  await o.close();
});

test('a request is seen', async () => {
  const o = await open('<img alt="" src="http://127.0.0.1:9/seen.png">', false);
  expect(o.wrongs).toContain('request: http://127.0.0.1:9/seen.png');
  await o.close();
});

test('what axe finds is seen', async () => {
  const o = await open('<input id="nameless">');
  expect((await o.axe()).join('\n')).toContain('label (critical): #nameless');
  await o.close();
});
