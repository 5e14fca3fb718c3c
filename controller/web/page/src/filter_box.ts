/**
 * The filter's box: what a person types, a chip for each term, how many moments it names,
 * what is wrong with it, and words to begin with.
 */
import type { App, Change } from './app';
import { make, say } from './elements';
import { parseQuery, selects, withNeighbours, without, withTerm, type Query, type Vocabulary } from './filter';
import { factsOf, vocabularyOf } from './filter_facts';

/** How many neighbours the switch beside the box shows. */
const reach = 3;

const nothing: Query = { terms: [], troubles: [], around: 0 };

export class FilterBox {
  private app!: App;
  private query: Query = nothing;
  /** Moments that the filter names itself, in order; without their neighbours. */
  private hits: number[] = [];

  private readonly input = make('input', {
    id: 'filter', type: 'search', spellcheck: 'false', autocomplete: 'off', 'aria-describedby': 'filter-count filter-trouble',
    placeholder: 'host:A call:connect flags:SYN is:lost time:10ms..40ms text',
  });
  private readonly count = make('output', { id: 'filter-count', for: 'filter' });
  private readonly trouble = make('p', { id: 'filter-trouble', class: 'trouble', role: 'status' });
  private readonly chips = make('ul', { class: 'chips', 'aria-label': 'terms of the filter' });
  private readonly hide = make('input', { type: 'checkbox' });
  private readonly around = make('input', { type: 'checkbox' });
  private readonly previous = make('button', { type: 'button', title: 'previous hit (N)', 'aria-label': 'previous hit' }, '↑');
  private readonly next = make('button', { type: 'button', title: 'next hit (n)', 'aria-label': 'next hit' }, '↓');
  private readonly ideas = make('div', { class: 'ideas' });
  private readonly help = make('details', { class: 'filter-help' }, make('summary', {}, 'Words'), this.ideas);

  /** Builds the box into el, which is its own, and begins to answer the app's filter. */
  mount(el: HTMLElement, app: App): void {
    this.app = app;
    el.append(make('form', { role: 'search', class: 'filter', 'aria-label': 'filter', onsubmit: (e) => { e.preventDefault(); this.step(1); } },
      make('label', { for: 'filter' }, 'Filter'), this.input, this.count, this.previous, this.next,
      make('label', { class: 'switch' }, this.hide, 'hide the rest'),
      make('label', { class: 'switch' }, this.around, `± ${reach} around`),
      this.help, this.chips, this.trouble));
    this.input.addEventListener('input', () => app.set({ filter: this.input.value }));
    this.hide.addEventListener('change', () => app.set({ filterMode: this.hide.checked ? 'hide' : 'dim' }));
    this.around.addEventListener('change', () => this.switchAround());
    this.previous.addEventListener('click', () => this.step(-1));
    this.next.addEventListener('click', () => this.step(1));
    const group = 'Filter';
    app.keys.add({ keys: ['/'], does: 'type a filter', group, run: () => { this.input.focus(); this.input.select(); } });
    app.keys.add({ keys: ['n'], does: 'next hit', group, run: () => this.step(1) });
    app.keys.add({ keys: ['N'], does: 'previous hit', group, run: () => this.step(-1) });
    this.input.addEventListener('keydown', (e) => {
      if (e.key !== 'Escape') return;
      // Once empties the box, twice leaves it.
      if (this.input.value !== '') app.set({ filter: '' });
      else this.input.blur();
      e.preventDefault();
      e.stopPropagation();
    });
  }

  /** Brings the box up to date, and the app's matches with it. */
  update(change: Change): void {
    if (change.has('filterMode')) this.hide.checked = this.app.view.filterMode === 'hide';
    if (change.has('filter') || change.has('data')) this.ask();
    if (change.has('selected') || change.has('filter') || change.has('data')) this.showCount();
  }

  private ask(): void {
    const { app, input } = this;
    const text = app.view.filter;
    if (input.value !== text) input.value = text;
    const r = app.repetition;
    if (r === null) {
      this.hits = [];
      return;
    }
    const known = vocabularyOf(app.run, r);
    this.query = parseQuery(text, known);
    this.around.checked = this.query.around > 0;
    this.showTroubles();
    this.showChips();
    if (this.help.open || this.ideas.childElementCount === 0) this.showIdeas(known);
    // A term that is still being typed leaves what was found before.
    if (this.query.troubles.length > 0 && app.matches !== null) return;
    this.hits = [];
    if (this.query.terms.length === 0 || this.query.troubles.length > 0) {
      app.setMatches(null);
      return;
    }
    const facts = factsOf(app.run, r);
    const found = new Uint8Array(facts.length);
    facts.forEach((f, i) => {
      if (!selects(this.query, f)) return;
      found[i] = 1;
      this.hits.push(i);
    });
    app.setMatches(this.query.around > 0 ? withNeighbours(found, this.query.around) : found);
  }

  private showCount(): void {
    const all = this.app.repetition?.moments.length ?? 0;
    const found = this.app.matches === null ? null : this.hits.length;
    const at = this.app.view.selected === null ? -1 : this.hits.indexOf(this.app.view.selected);
    this.count.value = found === null ? '' : `${at < 0 ? '' : `${at + 1} / `}${found.toLocaleString('en')} of ${all.toLocaleString('en')}`;
    this.previous.disabled = this.next.disabled = found === null || found === 0;
  }

  private showTroubles(): void {
    const { troubles } = this.query;
    this.input.setAttribute('aria-invalid', String(troubles.length > 0));
    const words = troubles.map((t) => t.message).join(' · ');
    if (this.trouble.textContent !== words) say(this.trouble, words);
    this.trouble.hidden = words === '';
  }

  private showChips(): void {
    this.chips.replaceChildren(...this.query.terms.map((t) => make('li', { class: t.negated ? 'chip negated' : 'chip' },
      make('span', {}, t.source),
      make('button', {
        type: 'button', 'aria-label': `remove ${t.source} from the filter`,
        onclick: () => { this.app.set({ filter: without(this.app.view.filter, t) }); this.input.focus(); },
      }, '×'))));
    this.chips.hidden = this.query.terms.length === 0;
  }

  private showIdeas(known: Vocabulary): void {
    const groups: [string, string[]][] = [
      ['hosts', known.hosts.map((h) => `host:${quoted(h)}`)],
      ['lanes', known.lanes.map((l) => `lane:${quoted(l)}`)],
      ['connections', Array.from({ length: Math.min(known.connections, 9) }, (_, i) => `conn:${i + 1}`)],
      ['kinds', ['kind:call', 'kind:packet', 'kind:trace', '-is:lab']],
      ['flags', ['flags:SYN', 'flags:FIN', 'flags:RST', 'flags:=ACK']],
      ['odd', ['is:lost', 'is:retransmitted', 'is:dropped', 'is:impossible', 'is:failed', 'is:unordered']],
      ['times', ['time:..10ms', 'time:10ms..40ms', 'took:>1ms']],
    ];
    this.ideas.replaceChildren(
      make('p', {}, 'All terms must hold. Commas are alternatives, a minus turns a term round, quotes keep blanks.'),
      ...groups.filter(([, words]) => words.length > 0).map(([name, words]) => make('div', { class: 'idea' },
        make('span', {}, name),
        ...words.map((w) => make('button', { type: 'button', class: 'chip', onclick: () => this.add(w) }, w)))));
  }

  private add(term: string): void {
    this.app.set({ filter: withTerm(this.app.view.filter, term) });
  }

  private switchAround(): void {
    const there = this.query.terms.find((t) => t.key === 'around');
    const { filter } = this.app.view;
    this.app.set({ filter: there ? without(filter, there) : withTerm(filter, `around:${reach}`) });
  }

  /** Selects the next hit, or the one before; from the last it goes round to the first. */
  private step(by: 1 | -1): void {
    const { hits, app } = this;
    if (hits.length === 0) {
      app.announce(app.matches === null ? 'there is no filter' : 'the filter names nothing here');
      return;
    }
    const from = app.view.selected ?? (by > 0 ? -1 : Infinity);
    const onward = by > 0 ? hits.find((h) => h > from) : hits.findLast((h) => h < from);
    app.set({ selected: onward ?? hits.at(by > 0 ? 0 : -1)! });
  }
}

function quoted(name: string): string {
  return /[\s,"]/.test(name) ? `"${name.replace(/"/g, '')}"` : name;
}
