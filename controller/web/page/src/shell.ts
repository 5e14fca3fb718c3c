/** The frame of the page: head, ladder, panels, details; and what belongs to all of them. */
import type { Address } from './address';
import { App, type Change, everything, type Panel, type Topic } from './app';
import type { Ruling } from './data';
import { Details } from './details';
import { make, say } from './elements';
import { Help } from './help';
import { fitText } from './ladder/pack';
import { Ladder } from './ladder/view';
import { FilterBox, panels } from './panels';
import { ThemeSwitch } from './theme';
import { isolated } from './visible';

/** A sign for each ruling, so that none is told by its colour alone. */
const signs: Readonly<Record<Ruling, string>> = { pass: '✓', fail: '✗', 'cannot tell': '?', 'not reproduced': '∅', 'no verdict': '–' };

interface Tab {
  panel: Panel;
  button: HTMLButtonElement;
  el: HTMLElement;
  mounted: boolean;
}

export class Shell {
  private readonly app: App;
  private readonly address: Address;
  private readonly ladder = new Ladder();
  private readonly filter = new FilterBox();
  private readonly details = new Details();
  private readonly help = new Help();
  private readonly theme: ThemeSwitch;
  private readonly tabs: Tab[] = [];

  private readonly run = make('span', { class: 'run' });
  private readonly position = make('span', { class: 'position' });
  private readonly ruling = make('span', { class: 'verdict' });
  private readonly why = make('span', { class: 'why' });
  private readonly summary = make('ul', { class: 'summary', 'aria-label': 'this repetition in words' });
  private readonly filterPlace = make('div', { class: 'filter-place' });
  private readonly alerts = make('div', { class: 'alerts', role: 'alert' });
  private readonly live = make('div', { class: 'unseen', 'aria-live': 'polite' });
  private readonly ladderPlace = make('section', { 'aria-label': 'ladder' });
  private readonly tablePlace = make('section', { class: 'table-place', 'aria-label': 'events as a table', hidden: true });
  private readonly tabList = make('div', { class: 'tabs', role: 'tablist', 'aria-label': 'panels' });
  private readonly side = make('div', { class: 'side' });
  private readonly printed = make('div', { class: 'printed', 'aria-hidden': 'true' });
  private readonly themeButton = make('button', { type: 'button', onclick: () => this.nextTheme() });

  constructor(app: App, address: Address) {
    this.app = app;
    this.address = address;
    this.theme = new ThemeSwitch(() => this.themed());
    app.announce = (sentence) => {
      say(this.live, sentence);
    };
    app.fail = (what, error) => this.tell(what, error);
    app.picture = (whole) => this.ladder.toSVG(whole);
  }

  /** Builds the page into el, and begins to follow the choices. */
  mount(el: HTMLElement): void {
    const { app } = this;
    this.bindKeys();
    const all = panels();
    for (const panel of all) {
      panel.bind?.(app);
    }
    el.append(
      make('nav', { 'aria-label': 'skip' },
        make('a', { class: 'skip', href: '#', onclick: (e) => { e.preventDefault(); this.ladderPlace.querySelector<HTMLElement>('[role=listbox]')?.focus(); } }, 'To the ladder')),
      make('header', {},
        make('h1', {}, 'syncline'), this.run,
        make('div', { class: 'group', role: 'group', 'aria-label': 'repetition' },
          make('button', { type: 'button', 'aria-label': 'previous repetition', title: 'previous repetition ([)', onclick: () => this.stepRepetition(-1) }, '‹'),
          this.position,
          make('button', { type: 'button', 'aria-label': 'next repetition', title: 'next repetition (])', onclick: () => this.stepRepetition(1) }, '›')),
        this.ruling, this.why, make('span', { class: 'gap' }), this.themeButton,
        make('button', { type: 'button', title: 'keys and signs (?)', onclick: () => this.help.toggle() }, 'Help')),
      this.alerts,
      make('main', {},
        make('div', { class: 'middle' }, this.filterPlace, this.summary, this.ladderPlace, this.tablePlace),
        this.side),
      this.live, this.printed);
    this.filter.mount(this.filterPlace, app);
    this.tablePlace.append(make('div', { class: 'ladder-tools' },
      make('button', { type: 'button', title: 'the picture instead of the table (t)', onclick: () => app.set({ form: 'picture' }) }, 'picture')));
    this.ladder.mount(this.ladderPlace, app);
    this.side.append(this.tabList);
    for (const panel of all) {
      this.addTab(panel);
    }
    this.details.mount(this.side, app);
    this.help.mount(el, app.keys);
    this.nameTheme();
    document.addEventListener('keydown', (e) => {
      if (document.querySelector('dialog[open]') === null) {
        app.keys.handle(e);
      }
    });
    addEventListener('beforeprint', () => this.print());
    app.subscribe((change) => this.update(change));
    this.update(everything);
  }

  private bindKeys(): void {
    const { app } = this;
    const group = 'Page';
    app.keys.add({ keys: ['?'], does: 'this list', group, run: () => this.help.toggle() });
    app.keys.add({ keys: ['['], does: 'previous repetition', group, run: () => this.stepRepetition(-1) });
    app.keys.add({ keys: [']'], does: 'next repetition', group, run: () => this.stepRepetition(1) });
    app.keys.add({ keys: ['t', 'T'], does: 'a table instead of the picture, and back', group, run: () => app.set({ form: app.view.form === 'table' ? 'picture' : 'table' }) });
    app.keys.add({ keys: ['y'], does: 'light, dark, or as the system has it', group, run: () => this.nextTheme() });
    app.keys.add({ keys: ['Escape'], does: 'close the details, then forget what is selected', group, run: () => this.escape() });
  }

  private addTab(panel: Panel): void {
    const { app } = this;
    const button = make('button', {
      type: 'button', role: 'tab', id: `tab-${panel.id}`, 'aria-controls': `panel-${panel.id}`,
      title: panel.key === undefined ? panel.title : `${panel.title} (${panel.key})`, onclick: () => app.set({ panel: app.view.panel === panel.id ? '' : panel.id }),
    }, panel.title);
    button.addEventListener('keydown', (e) => this.walkTabs(e));
    const el = make('div', { class: `panel panel-${panel.id}`, role: 'tabpanel', id: `panel-${panel.id}`, 'aria-labelledby': `tab-${panel.id}`, hidden: true },
      make('h2', { class: 'unseen' }, panel.title));
    this.tabList.append(button);
    this.side.append(el);
    this.tabs.push({ panel, button, el, mounted: false });
    if (panel.key !== undefined) {
      app.keys.add({ keys: [panel.key], does: `open or close ${panel.title}`, group: 'Panels', run: () => app.set({ panel: app.view.panel === panel.id ? '' : panel.id }) });
    }
  }

  /** Arrows go from tab to tab, as the pattern for tabs has it. */
  private walkTabs(e: KeyboardEvent): void {
    const at = this.tabs.findIndex((t) => t.button === e.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this.tabs.length - 1 }[e.key];
    if (to === undefined) {
      return;
    }
    this.tabs[(to + this.tabs.length) % this.tabs.length]!.button.focus();
    e.preventDefault();
    e.stopPropagation();
  }

  private update(change: Change): void {
    const any = (...topics: Topic[]): boolean => topics.some((t) => change.has(t));
    const { app } = this;
    app.attempt(() => this.filter.update(change));
    if (any('run', 'repetition', 'data')) {
      this.showHead();
    }
    if (any('form')) {
      this.ladderPlace.hidden = app.view.form === 'table';
      this.tablePlace.hidden = app.view.form !== 'table';
    }
    app.attempt(() => this.ladder.update(change));
    this.showPanels(change);
    app.attempt(() => this.details.update(change));
    if (!(change.size === 1 && (change.has('data') || change.has('matches')))) {
      this.address.later();
    }
  }

  private showHead(): void {
    const { app } = this;
    const { run, view } = app;
    const at = run.repetitions.findIndex((o) => o.n === view.repetition);
    const o = run.repetitions[at];
    say(this.run, `${run.experiment} · ${run.id}`);
    this.run.title = this.run.textContent;
    say(this.position, `repetition ${view.repetition} of ${run.repetitions.length.toLocaleString('en')}${o?.variant ? ` · ${o.variant}` : ''}`);
    const ruling = o?.ruling ?? 'no verdict';
    this.ruling.className = `verdict ${ruling.replace(' ', '-')}`;
    this.ruling.textContent = `${signs[ruling]} ${ruling}`;
    say(this.why, o?.why ?? '');
    this.why.title = o?.why ?? '';
    this.summary.replaceChildren(...(app.repetition?.summary ?? []).map((s) => make('li', {}, s)));
    document.title = isolated(fitText(`${run.experiment} @${view.repetition} · ${run.id} · syncline`, 200));
  }

  private showPanels(change: Change): void {
    const { form, panel } = this.app.view;
    // The events stand in the place of the picture if that is a table.
    const shown = form === 'table' ? ['events', panel] : [panel];
    this.side.classList.toggle('closed', !this.tabs.some((t) => t.panel.id === panel && !(form === 'table' && panel === 'events')));
    this.tabs.forEach((tab, i) => {
      const open = shown.includes(tab.panel.id);
      const place = form === 'table' && tab.panel.id === 'events' ? this.tablePlace : this.side;
      if (tab.el.parentElement !== place) {
        place.append(tab.el);
      }
      const was = !tab.el.hidden;
      tab.el.hidden = !open;
      const selected = tab.panel.id === panel;
      tab.button.setAttribute('aria-selected', String(selected));
      tab.button.tabIndex = selected || (i === 0 && !this.tabs.some((t) => t.panel.id === panel)) ? 0 : -1;
      if (!open) {
        return;
      }
      this.app.attempt(() => {
        if (!tab.mounted) {
          tab.mounted = true;
          tab.panel.mount(tab.el, this.app);
        }
        tab.panel.update(was && !change.has('form') ? change : everything);
      });
    });
  }

  private stepRepetition(by: number): void {
    const { app } = this;
    const list = app.run.repetitions;
    const next = list[list.findIndex((o) => o.n === app.view.repetition) + by];
    if (next === undefined) {
      app.announce(by > 0 ? 'this is the last repetition' : 'this is the first repetition');
      return;
    }
    app.set({ repetition: next.n });
    app.announce(`repetition ${next.n}, ${next.ruling}`);
  }

  private escape(): boolean {
    const { pinned, selected } = this.app.view;
    if (pinned !== null) {
      this.app.set({ pinned: null });
    } else if (selected !== null) {
      this.app.set({ selected: null });
    } else {
      return false;
    }
    return true;
  }

  private nextTheme(): void {
    this.app.announce(`theme: ${this.theme.next()}`);
  }

  private themed(): void {
    this.nameTheme();
    this.ladder.readTheme();
    if (this.app.repetition !== null) {
      this.showPanels(everything);
    }
  }

  private nameTheme(): void {
    const names = { auto: 'Theme: auto', light: 'Theme: light', dark: 'Theme: dark' };
    this.themeButton.textContent = names[this.theme.current];
    this.themeButton.title = 'light, dark, or as the system has it (y)';
  }

  /** All of the ladder goes to paper, not only what is in sight. */
  private print(): void {
    const svg = this.ladder.toSVG(true, true) ?? 'there is no ladder';
    const { run, view } = this.app;
    this.printed.replaceChildren(
      make('p', {}, `${run.experiment} · ${run.id} @${view.repetition} · ${this.ruling.textContent} ${this.why.textContent} · ${this.app.page.tool} · ${run.command}`),
      svg, make('ol', {}, ...(this.app.repetition?.notes ?? []).map((n) => make('li', {}, n.text))));
  }

  /** Shows what went wrong until someone closes it. */
  private tell(what: string, error: unknown): void {
    console.error(what, error);
    const why: string[] = [];
    for (let e = error; e instanceof Error; e = e.cause) {
      why.push(e.message);
    }
    const box = make('div', { class: 'alert' }, `${what}${why.length === 0 ? '' : `: ${why.join(': ')}`} `);
    box.append(make('button', { type: 'button', 'aria-label': 'close this message', onclick: () => box.remove() }, '×'));
    this.alerts.append(box);
  }
}
