/**
 * Makes the pages that the tests look at, as a person makes them: `syncline report` of
 * recorded bundles. Two larger ones are made of the first by repeating what is in it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { TestProject } from 'vitest/node';
import { farApart, longRepetition, manyRepetitions, manyRuns } from './multiply';

const page = resolve(import.meta.dirname, '..');
const module = resolve(page, '../../..');
const library = join(module, 'controller/export/testdata/library');

/** Files of finished pages. */
export interface Reports {
  /** One run with several repetitions, some of which are odd. */
  small: string;
  /** Two runs, for comparisons. */
  two: string;
  /** A run of 1,000 repetitions. */
  many: string;
  /** A run whose phases took between 1 µs and a second, and whose ± is as large. */
  spread: string;
  /** Eighty runs, of a hundred lengths of each phase. */
  runs: string;
  /** A repetition of 100,000 events. */
  long: string;
  /** Those whose pictures are in screenshots/; '' if none are to be taken. */
  pictured: string;
  measured: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    reports: Reports;
  }
}

export default function setup(project: TestProject): () => void {
  const directory = mkdtempSync(join(tmpdir(), 'syncline-page-'));
  const clean = () => rmSync(directory, { recursive: true, force: true });
  try {
    project.provide('reports', make(directory));
  } catch (error) {
    clean();
    throw error;
  }
  return clean;
}

function make(directory: string): Reports {
  const syncline = binary(directory);
  const report = (name: string, ...bundles: string[]): string => {
    const to = join(directory, name);
    const files = bundles.map((b) => join(library, `${b}.syncline`));
    for (const f of files) if (!existsSync(f)) throw new Error(`${f}: no such bundle; record the library again`);
    execFileSync(syncline, ['report', ...files, '--to', to], { stdio: ['ignore', 'inherit', 'inherit'] });
    return to;
  };
  const small = report('small.html', 'backlog-overflow');
  const html = readFileSync(small, 'utf8');
  const write = (name: string, text: string): string => {
    const to = join(directory, name);
    writeFileSync(to, text);
    return to;
  };
  return {
    small,
    two: report('two.html', 'handshake-and-teardown', 'server-closes-first'),
    many: write('many.html', manyRepetitions(html, 1_000)),
    spread: write('spread.html', farApart(html)),
    runs: write('runs.html', manyRuns(html, 80)),
    long: write('long.html', longRepetition(html, 100_000)),
    pictured: process.env['SCREENSHOTS'] ? report('pictured.html', 'close-with-unread-data') : '',
    measured: process.env['SCREENSHOTS'] ? demo(syncline, join(directory, 'measured.html')) : '',
  };
}

/** Runs 200 repetitions on a wire that loses packets, as root, and writes their page. */
function demo(syncline: string, to: string): string {
  const wire = ['--delay', '5ms', '--jitter', '2ms', '--loss', '1%', '--seed', '7'];
  const { status, stderr } = spawnSync(syncline, ['demo', 'handshake-and-teardown', '--repeat', '200', ...wire, '--to', to], { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  // What is lost may fail an expectation, or leave it undecided; that is what the picture is about.
  if (![0, 1, 3].includes(status ?? -1) || !existsSync(to)) throw new Error(`syncline demo ended with ${status}: ${stderr}`);
  return to;
}

/** The program that $SYNCLINE names, or one that is built now. */
function binary(directory: string): string {
  const named = process.env['SYNCLINE'];
  if (named !== undefined && named !== '') return resolve(module, named);
  const to = join(directory, 'syncline');
  execFileSync('go', ['build', '-o', to, './cli/syncline'], { cwd: module, stdio: ['ignore', 'inherit', 'inherit'] });
  return to;
}
