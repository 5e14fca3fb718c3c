/**
 * The story of the repetition in words: rulings, notes,
 * and for the selected moment what brought it about and what it led to.
 */
import type { App, Change, Panel } from './app';
import type { Cause, Repetition, Verdict } from './data';
import { make } from './elements';
import { wordsOf } from './measure_panel';
import { rulingClass, rulingSign } from './picker';
import { fixed, unitName } from './time';

/** What brought a moment about, and what brought that about, up to what nothing explains. */
export function chainOf(causes: readonly Cause[], moment: number): Cause[] {
  const byEffect = new Map<number, Cause>();
  for (const c of causes) if (!byEffect.has(c.effect)) byEffect.set(c.effect, c);
  const chain: Cause[] = [];
  const seen = new Set<number>();
  for (let at = moment; !seen.has(at);) {
    seen.add(at);
    const cause = byEffect.get(at);
    if (cause === undefined) break;
    chain.push(cause);
    if (cause.by < 0) break;
    at = cause.by;
  }
  return chain;
}

/** What a moment led to, directly. */
export function effectsOf(causes: readonly Cause[], moment: number): Cause[] {
  return causes.filter((c) => c.by === moment);
}

export class NotesPanel implements Panel {
  readonly id = 'notes';
  readonly title = 'Story';
  readonly key = 'v';

  private app!: App;
  private readonly verdicts = make('div');
  private readonly notes = make('div');
  private readonly why = make('div', { role: 'status' });
  private readonly warnings = make('div');

  mount(el: HTMLElement, app: App): void {
    this.app = app;
    el.append(
      this.verdicts,
      make('h3', {}, 'Notes'), this.notes,
      make('h3', {}, 'Why the selected moment came about'), this.why, this.warnings);
  }

  update(change: Change): void {
    const r = this.app.repetition;
    if (r === null) {
      for (const part of [this.verdicts, this.notes, this.why, this.warnings]) part.replaceChildren();
      return;
    }
    if (change.has('data')) {
      this.showVerdicts(r);
      this.showWarnings(r);
    }
    if (change.has('data') || change.has('connection')) this.showNotes(r);
    if (change.has('data') || change.has('selected')) this.showWhy(r);
  }

  private showVerdicts(r: Repetition): void {
    const list = (verdicts: readonly Verdict[], label: string) => make('ul', { class: 'verdicts', 'aria-label': label }, ...verdicts.map((v) => make('li', {},
      make('span', { class: rulingClass(v.ruling), role: 'img', 'aria-label': v.ruling }, rulingSign[v.ruling]),
      make('div', {},
        v.moments.length === 0
          ? make('span', {}, v.text)
          : make('button', { type: 'button', class: 'link', title: 'select what decided it', onclick: () => this.app.set({ selected: v.moments[0]! }) }, v.text),
        make('span', { class: 'reason' }, v.reason)))));
    const held = r.verdicts.filter((v) => v.ruling === 'pass');
    const others = r.verdicts.filter((v) => v.ruling !== 'pass');
    this.verdicts.replaceChildren(
      ...(r.verdicts.length === 0 ? [make('p', {}, 'The experiment expects nothing: there is nothing to rule on.')] : []),
      ...(others.length === 0 ? [] : [list(others, 'expectations that do not hold')]),
      ...(held.length === 0 ? [] : [make('details', {}, make('summary', {}, `${held.length} of ${r.verdicts.length} expectations hold`), list(held, 'expectations that hold'))]));
  }

  private showNotes(r: Repetition): void {
    const { connection } = this.app.view;
    // Each keeps the number that it has in the ladder.
    const notes = r.notes.map((n, i) => ({ ...n, number: i + 1 })).filter((n) => connection === 0 || n.connection === 0 || n.connection === connection);
    this.notes.replaceChildren(notes.length === 0
      ? make('p', {}, 'Nothing here is worth a note.')
      : make('ul', { class: 'notes' }, ...notes.map((n) => make('li', {},
        make('span', { class: 'badge' }, String(n.number)),
        make('div', {},
          make('button', { type: 'button', class: 'link', disabled: n.moments.length === 0, onclick: () => this.app.set({ selected: n.moments.at(-1)! }) }, n.text),
          ...(n.sources.length === 0 ? [] : [make('cite', {}, n.sources.join(', '))]))))));
  }

  private showWhy(r: Repetition): void {
    const { selected } = this.app.view;
    if (selected === null) {
      this.why.replaceChildren(make('p', {}, 'Select a moment, in the ladder or in the table.'));
      return;
    }
    const chain = chainOf(r.causes, selected);
    const led = effectsOf(r.causes, selected);
    this.why.replaceChildren(
      make('p', { class: 'this' }, `${timeOf(r, selected)} ${wordsOf(this.app, r, selected)}`),
      chain.length === 0
        ? make('p', {}, 'No cause of it is on record.')
        : make('ol', { class: 'causes', 'aria-label': 'what brought it about, the nearest first' }, ...chain.map((c) => this.link(r, c, c.by))),
      ...(led.length === 0 ? [] : [
        make('h4', {}, 'It led to'),
        make('ul', { class: 'causes', 'aria-label': 'what it led to' }, ...led.map((c) => this.link(r, c, c.effect))),
      ]));
  }

  private link(r: Repetition, c: Cause, other: number): HTMLElement {
    const words = c.known === 'none known' ? 'none known' : c.rule;
    return make('li', { class: c.known === 'observed' ? 'observed' : c.known === 'inferred' ? 'inferred' : 'unknown' },
      make('span', { class: 'rule' }, words, ...(c.why === '' ? [] : [` (${c.why})`])),
      ...(other < 0 ? [] : [make('button', { type: 'button', class: 'link', onclick: () => this.app.set({ selected: other }) }, `${timeOf(r, other)} ${wordsOf(this.app, r, other)}`)]),
      make('span', { class: 'known' }, [c.known === 'none known' ? '' : c.known, c.known !== 'none known' && !c.ordered && c.by >= 0 ? 'which was first is not known' : '', c.sources.join(', ')].filter((t) => t !== '').join(' · ')));
  }

  private showWarnings(r: Repetition): void {
    const { run } = this.app;
    const missing = run.hosts.flatMap((h) => h.missing.map((m) => `${h.name}: ${m}`));
    const all = [...run.incomplete.map((t) => `missing: ${t}`), ...r.warnings, ...run.warnings, ...missing];
    this.warnings.replaceChildren(...(all.length === 0 ? [] : [
      make('h3', {}, 'Read before believing the rest'),
      make('ul', { class: 'remarks' }, ...[...new Set(all)].map((t) => make('li', {}, t))),
    ]));
  }
}

function timeOf(r: Repetition, i: number): string {
  const m = r.moments[i];
  return m === undefined ? '' : `${fixed(m.at, r.layout.unit, r.layout.decimals)} ${unitName(r.layout.unit)}`;
}
