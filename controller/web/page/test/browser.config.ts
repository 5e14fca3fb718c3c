import { defineConfig } from 'vitest/config';

/** Tests of finished pages in Chromium: one browser, one page after the other. */
export default defineConfig({
  test: {
    dir: import.meta.dirname,
    include: ['**/*.browser.ts'],
    globalSetup: [`${import.meta.dirname}/reports.ts`],
    fileParallelism: false,
    // A busy machine is slow; what hangs is found all the same.
    testTimeout: 120_000,
    expect: { poll: { timeout: 10_000 } },
    hookTimeout: 120_000,
  },
});
