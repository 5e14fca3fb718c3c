/** Takes what is shown elsewhere: a link, the picture, the events as text, the commands that make them again. */
import type { App, Change, Panel } from './app';
import type { Repetition, Run } from './data';
import { make } from './elements';
import { shellCommand } from './shell_word';
import { listed, originOf, signOf, timeText } from './table';
import { unitName } from './time';

export class CopyPanel implements Panel {
  readonly id = 'copy';
  readonly title = 'Copy';
  readonly key = 'C';

  private app!: App;
  private readonly whole = make('input', { type: 'checkbox' });
  private readonly told = make('p', { role: 'status', class: 'told' });
  private readonly commands = make('div', { class: 'commands' });
  private readonly source = make('div');

  mount(el: HTMLElement, app: App): void {
    this.app = app;
    const button = (text: string, act: () => void | Promise<void>) => make('button', { type: 'button', onclick: () => void this.attempt(text, act) }, text);
    el.append(
      make('div', { class: 'tools' },
        button('Copy a link to this view', () => this.write(location.href)),
        button('Copy events as text', () => this.write(this.text()))),
      make('div', { class: 'tools' },
        button('Copy ladder as SVG', () => this.write(this.svg())),
        button('Save SVG', () => this.save(new Blob([this.svg()], { type: 'image/svg+xml' }), 'svg')),
        button('Copy PNG', async () => navigator.clipboard.write([new ClipboardItem({ 'image/png': this.png() })])),
        button('Save PNG', async () => this.save(await this.png(), 'png')),
        make('label', { class: 'switch' }, this.whole, 'the whole ladder')),
      this.told, make('h3', {}, 'Make it again'), this.commands, this.source);
  }

  update(change: Change): void {
    if (!['run', 'repetition', 'connection', 'scale', 'times'].some((t) => change.has(t as 'run'))) return;
    const { run, page } = this.app;
    const lines: [string, string][] = [
      ['this ladder on a terminal', ladderCommand(this.app)],
      ['this run on a terminal', run.command],
      ['this page', page.command],
    ];
    this.commands.replaceChildren(...lines.filter(([, c]) => c !== '').map(([what, command]) => make('div', { class: 'command' },
      make('span', {}, what), make('code', { tabindex: 0 }, command),
      make('button', { type: 'button', 'aria-label': `copy the command for ${what}`, onclick: () => void this.attempt('Copy', () => this.write(command)) }, 'Copy'))));
    this.source.replaceChildren(...(run.source === '' ? [] : [make('details', {}, make('summary', {}, `The experiment ${run.experiment}`), make('pre', { tabindex: 0 }, run.source))]));
  }

  /** Does what a button says, and tells that it is done, or why not. */
  private async attempt(what: string, act: () => void | Promise<void>): Promise<void> {
    try {
      await act();
      this.told.textContent = `${what}: done.`;
    } catch (error) {
      this.told.textContent = `${what}: the browser did not do it (${error instanceof Error ? error.message : String(error)}).`;
    }
  }

  private write(text: string): Promise<void> {
    // Absent where a browser takes a file for no secure context.
    if (navigator.clipboard === undefined) throw new Error('this browser gives pages that are files no clipboard; select and copy by hand');
    return navigator.clipboard.writeText(text);
  }

  private save(blob: Blob, extension: string): void {
    const { run, view } = this.app;
    const url = URL.createObjectURL(blob);
    make('a', { href: url, download: `${run.id}@${view.repetition}.${extension}`.replace(/[^\w.@-]/g, '_') }).click();
    // The download has begun by the next turn; without this the bytes stay for as long as the page.
    setTimeout(() => URL.revokeObjectURL(url));
  }

  private drawn(): SVGSVGElement {
    const svg = this.app.picture(this.whole.checked);
    if (svg === null) throw new Error('no ladder is drawn: show the picture and not the table');
    return svg;
  }

  private svg(): string {
    return `${new XMLSerializer().serializeToString(this.drawn())}\n`;
  }

  /** Paints the SVG at twice its size, so that it is sharp in print. */
  private async png(): Promise<Blob> {
    const svg = this.drawn();
    const [width, height] = [Number(svg.getAttribute('width')), Number(svg.getAttribute('height'))];
    const most = 16_000;
    if (height > most) throw new Error(`the whole ladder is ${height} pixels high and a PNG of at most ${most} can be made; save it as SVG`);
    const image = new Image(width, height);
    const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: 'image/svg+xml' }));
    try {
      image.src = url;
      await image.decode();
      const times = height * 2 > most ? 1 : 2;
      const canvas = make('canvas', { width: width * times, height: height * times });
      const context = canvas.getContext('2d')!;
      context.scale(times, times);
      context.drawImage(image, 0, 0);
      return await new Promise<Blob>((done, fail) => canvas.toBlob((b) => (b ? done(b) : fail(new Error('it makes no PNG of this size'))), 'image/png'));
    } finally {
      URL.revokeObjectURL(url);
    }
  }

  private text(): string {
    const { app } = this;
    const r = app.repetition;
    if (r === null) throw new Error('the repetition is not there yet');
    return textOf(app.run, r, listed(r, app.view.connection, app.matches, app.matches !== null), app.view.times === 'raw', originOf(r, app.view.origin));
  }
}

/** Moments as lines of text, their columns under each other. */
export function textOf(run: Run, r: Repetition, list: Iterable<number>, raw: boolean, origin: number): string {
  const rows = [...list].map((i) => {
    const m = r.moments[i]!;
    return [timeText(r, m, raw, origin), run.hosts[m.host]?.name ?? '?', signOf(r, i).sign, m.text];
  });
  const heads = [raw ? 'own clock' : `t/${unitName(r.layout.unit)}`, 'host', '', 'event'];
  const widths = heads.map((h, c) => rows.reduce((w, row) => Math.max(w, row[c]!.length), h.length));
  const line = (cells: readonly string[]) => cells.map((cell, c) => (c === 0 ? cell.padStart(widths[c]!) : c === 3 ? cell : cell.padEnd(widths[c]!))).join('  ').trimEnd();
  return [`run ${run.id} rep ${r.n}  ${run.experiment}  ${r.ruling}`, ...r.summary, line(heads), ...rows.map(line), ''].join('\n');
}

/** The command that draws the repetition as it is shown, as far as a terminal can. */
export function ladderCommand(app: App): string {
  const { run, view } = app;
  if (run.command === '') return '';
  return shellCommand('syncline', 'ladder', `${run.name}@${view.repetition}`,
    ...(view.connection > 0 ? ['--conn', String(view.connection)] : []),
    ...(view.scale === 'row' ? [] : ['--scale', view.scale]), ...(view.times === 'raw' ? ['--raw'] : []));
}
