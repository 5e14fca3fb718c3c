/** All that is known of the pinned moment: its times, its causes, its event as it was recorded. */
import type { App, Change, Topic } from './app';
import type { Moment, Repetition } from './data';
import { make, say } from './elements';
import { eventFacts } from './event_facts';
import { ownTime, timeWords } from './ladder/words';
import { Latest } from './latest';
import { visibleJSON } from './visible';

export class Details {
  private app!: App;
  private readonly latest = new Latest();
  private readonly title = make('h2', { id: 'details-title', tabindex: -1 });
  private readonly body = make('div', { class: 'details-body', tabindex: 0, role: 'region', 'aria-labelledby': 'details-title' });
  private readonly el = make('aside', { class: 'details', 'aria-labelledby': 'details-title', hidden: true },
    make('div', { class: 'details-head' }, this.title,
      make('button', { type: 'button', 'aria-label': 'close details', title: 'close (Escape)', onclick: () => this.app.set({ pinned: null }) }, '×')),
    this.body);

  mount(parent: HTMLElement, app: App): void {
    this.app = app;
    parent.append(this.el);
  }

  update(change: Change): void {
    const any = (...topics: Topic[]): boolean => topics.some((t) => change.has(t));
    if (any('pinned', 'data')) {
      this.show();
    }
  }

  private show(): void {
    const { app } = this;
    const r = app.repetition;
    const { pinned } = app.view;
    const m = pinned === null || r === null ? undefined : r.moments[pinned];
    this.el.hidden = m === undefined;
    if (m === undefined || r === null || pinned === null) {
      return;
    }
    const host = app.run.hosts[m.host];
    say(this.title, m.text);
    const json = make('pre', { tabindex: 0, 'aria-label': 'event as JSON' }, '…');
    const facts = make('dl', { class: 'facts' });
    fact(facts, 'Host', `${host?.name ?? '?'}${host !== undefined && host.agent !== host.name ? ` (${host.agent})` : ''}`);
    fact(facts, 'Lab time', timeWords(r, pinned));
    fact(facts, 'Own clock', ownTime(r, pinned));
    fact(facts, 'Recorded as', `${m.kind}${m.edge === 'at' ? '' : `, ${m.edge}`}`);
    if (m.connection > 0) {
      const c = r.connections[m.connection - 1];
      fact(facts, 'Connection', c === undefined ? String(m.connection) : `${m.connection}: ${c.client.address} → ${c.server.address}`);
    }
    this.body.replaceChildren(facts, ...this.causes(r, pinned), ...this.rulings(r, pinned), make('h3', {}, 'As recorded'), json);
    void this.showEvent(m, json, facts);
  }

  /** Adds what the event itself says, once its block is unpacked. */
  private async showEvent(m: Moment, json: HTMLElement, facts: HTMLElement): Promise<void> {
    const wanted = this.latest.ask();
    try {
      const event = (await this.app.events())[m.event];
      if (!wanted()) {
        return;
      }
      for (const [name, value] of eventFacts(event)) {
        fact(facts, name, value);
      }
      json.textContent = visibleJSON(JSON.stringify(event, null, 2));
    } catch (error) {
      if (wanted()) {
        json.textContent = 'The event cannot be shown.';
        this.app.fail('the event of this moment cannot be shown', error);
      }
    }
  }

  private causes(r: Repetition, moment: number): HTMLElement[] {
    const list = make('ul', { class: 'causes' });
    for (const c of r.causes) {
      if (c.effect !== moment && c.by !== moment) {
        continue;
      }
      const other = c.effect === moment ? c.by : c.effect;
      const lead = c.effect === moment ? (c.known === 'none known' ? 'No cause is known' : 'Because of') : 'Brought about';
      const how = [c.rule, c.why, c.known === 'inferred' ? 'inferred' : '', c.ordered || c.by < 0 ? '' : 'their order is not known', ...c.sources].filter((t) => t !== '').join(' · ');
      list.append(make('li', {}, `${lead} `, other >= 0 ? this.link(r, other) : null, make('span', { class: 'how' }, how)));
    }
    return list.childElementCount === 0 ? [] : [make('h3', {}, 'Causes'), list];
  }

  private rulings(r: Repetition, moment: number): HTMLElement[] {
    const about = r.verdicts.filter((v) => v.moments.includes(moment));
    if (about.length === 0) {
      return [];
    }
    return [make('h3', {}, 'Decided'), make('ul', {}, ...about.map((v) => make('li', {}, `${v.ruling}: ${v.text}${v.reason === '' ? '' : ` (${v.reason})`}`)))];
  }

  private link(r: Repetition, moment: number): HTMLElement {
    return make('button', { type: 'button', class: 'link', onclick: () => this.app.set({ selected: moment, pinned: moment }) }, r.moments[moment]!.text);
  }
}

function fact(list: HTMLElement, name: string, value: string): void {
  list.append(make('dt', {}, name), make('dd', {}, value));
}
