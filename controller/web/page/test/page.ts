/** A page in Chromium, watched: what it asks the network for, what it says, what its policy stops. */
import { pathToFileURL } from 'node:url';
import AxeBuilder from '@axe-core/playwright';
import { type Browser, type CDPSession, chromium, type Page } from 'playwright-core';

/** Without these Chromium itself asks hosts of its maker for things. */
const quiet = [
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic', '--no-first-run', '--disable-gpu',
  '--disable-default-apps', '--disable-extensions', '--disable-domain-reliability', '--host-resolver-rules=MAP * ~NOTFOUND',
];

/** Debian's Chromium, or the one that $CHROMIUM names. */
export function launch(): Promise<Browser> {
  // As root, Chromium has no sandbox.
  const root = process.getuid?.() === 0;
  return chromium.launch({ executablePath: process.env['CHROMIUM'] || '/usr/bin/chromium', args: root ? [...quiet, '--no-sandbox'] : quiet });
}

/** How a page is opened. */
export interface Look {
  readonly theme?: 'light' | 'dark';
  readonly width?: number;
  readonly height?: number;
  /** Behind "#" in the address. */
  readonly hash?: string;
  /** Counts for how long the page's thread is busy. */
  readonly counted?: boolean;
}

/** An open page, and all that it should not have done. */
export class Opened {
  /** What went wrong: errors, warnings, requests, what the policy stopped. */
  readonly wrongs: string[] = [];
  /** How long it took until the ladder was there, ms. */
  took = NaN;
  private counter: CDPSession | null = null;

  private constructor(readonly page: Page) {}

  /** Opens a file, and waits until its repetition is drawn. */
  static async open(browser: Browser, file: string, look: Look = {}): Promise<Opened> {
    const context = await browser.newContext({
      colorScheme: look.theme ?? 'light', viewport: { width: look.width ?? 1280, height: look.height ?? 800 }, deviceScaleFactor: 1, reducedMotion: 'reduce',
    });
    const opened = new Opened(await context.newPage());
    const { page, wrongs } = opened;
    page.on('console', (m) => {
      if (m.type() === 'error' || m.type() === 'warning') wrongs.push(`console ${m.type()}: ${m.text()}`);
    });
    page.on('pageerror', (e) => wrongs.push(`error: ${e.message}`));
    page.on('request', (r) => {
      if (r.url() !== opened.url && !r.url().startsWith('data:') && !r.url().startsWith('blob:')) wrongs.push(`request: ${r.url()}`);
    });
    await page.addInitScript(() => addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} stopped ${e.blockedURI}`)));
    if (look.counted === true) {
      opened.counter = await context.newCDPSession(page);
      await opened.counter.send('Performance.enable', { timeDomain: 'threadTicks' });
    }
    opened.url = pathToFileURL(file).href;
    const began = performance.now();
    await page.goto(look.hash === undefined ? opened.url : `${opened.url}#${look.hash}`);
    await opened.drawn();
    opened.took = performance.now() - began;
    return opened;
  }

  private url = '';

  /** Waits until the page shows the repetition that it is asked for. */
  async drawn(): Promise<void> {
    const there = await this.page.waitForFunction(() => {
      const alert = document.querySelector('.alert')?.textContent;
      if (alert) return alert;
      const state = document.querySelector('.ladder-state');
      return document.documentElement.dataset['ready'] === 'true' && state instanceof HTMLElement && state.hidden ? 'drawn' : false;
    }).then((h) => h.jsonValue(), (e: unknown) => String(e));
    if (there !== 'drawn') throw new Error(`the page does not show its repetition: ${[there, ...this.wrongs].join('; ')}`);
    // The picture is made in the frame after that.
    await this.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  }

  /** Waits until the address holds a choice, and gives it. */
  async chosen(name: string, is: (value: string | null) => boolean = (v) => v !== null): Promise<string | null> {
    let value: string | null = null;
    for (const end = performance.now() + 5_000; performance.now() < end;) {
      value = new URLSearchParams(new URL(this.page.url()).hash.slice(1)).get(name);
      if (is(value)) return value;
      await this.page.evaluate(() => new Promise(requestAnimationFrame));
    }
    throw new Error(`the address holds ${name}=${value}: ${this.page.url()}`);
  }

  /**
   * How long the page's own thread has been busy since it was opened, ms: what others do on
   * the machine does not count. For pages that were opened with Look.counted.
   */
  async cpu(): Promise<number> {
    if (this.counter === null) throw new Error('the page was opened without counting');
    const { metrics } = await this.counter.send('Performance.getMetrics');
    const busy = metrics.find((m) => m.name === 'TaskDuration')?.value;
    if (busy === undefined) throw new Error('the browser does not tell how long its thread was busy');
    return 1000 * busy;
  }

  /** What axe finds that is serious or critical, in the whole page or in one part of it, by some rules or all. */
  async axe(o: { part?: string; rules?: string[] } = {}): Promise<string[]> {
    let axe = new AxeBuilder({ page: this.page });
    if (o.part !== undefined) axe = axe.include(o.part);
    if (o.rules !== undefined) axe = axe.withRules(o.rules);
    const { violations } = await axe.analyze();
    return violations.filter((v) => v.impact === 'serious' || v.impact === 'critical')
      .flatMap((v) => v.nodes.map((n) => `${v.id} (${v.impact}): ${n.target.join(' ')}: ${n.failureSummary?.split('\n').slice(1).join(';') ?? v.help}`));
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }
}
