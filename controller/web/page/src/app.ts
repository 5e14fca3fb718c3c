/**
 * What all parts of the page share: the choices of the person who looks (View), the data
 * they are about, and who wants to hear when either changes. Parts do not call each other;
 * they set choices, and hear of changes.
 */
import type { Events, Page, Repetition, Run } from './data';
import type { Keys } from './keys';
import { Latest } from './latest';

/** How the ladder maps time to place. The maps themselves come with the layout. */
export type ScaleName = 'row' | 'linear' | 'log';

/** Layers that can be switched off. */
export interface Layers {
  calls: boolean;
  packets: boolean;
  states: boolean;
  notes: boolean;
  /** The lab's own steps: sleep, signal, wait, meet, apply, undo. */
  lab: boolean;
}

export type Layer = keyof Layers;

/**
 * What a person has chosen to see. It is replaced as a whole, never changed in place, and
 * all of it is in the permalink.
 */
export interface View {
  /** Index into Page.runs. */
  readonly run: number;
  /** Number of the repetition, counted from 1. */
  readonly repetition: number;
  /** Connection, counted from 1; 0 for all. */
  readonly connection: number;
  /** The moment that is selected in every part alike: an index into Repetition.moments. */
  readonly selected: number | null;
  /** The moment whose details stay open. */
  readonly pinned: number | null;
  /** The moment that times are measured from, once someone measures. */
  readonly mark: number | null;
  /** The moment whose time is shown as 0; null for the timeline's own zero. */
  readonly origin: number | null;
  /** What the filter box holds. */
  readonly filter: string;
  /** Whether what the filter does not name is dimmed or left out. */
  readonly filterMode: 'dim' | 'hide';
  readonly scale: ScaleName;
  /** Times of the lab's clock with their ±, or each host's own clock, raw. */
  readonly times: 'lab' | 'raw';
  /** The part of the timeline that is seen, nanoseconds since its zero; null for all. */
  readonly range: readonly [number, number] | null;
  readonly layers: Readonly<Layers>;
  /** The ladder as a picture, or the same as a table. */
  readonly form: 'picture' | 'table';
  /** The panel that is open beside the ladder, by its id; '' for none. */
  readonly panel: string;
  /** The other repetition to compare with, "run:number" by index and number; '' for none. */
  readonly compare: string;
}

/**
 * What changed: choices by their names, 'data' if the repetition that they are about has
 * come or gone, 'matches' if the filter has other hits.
 */
export type Topic = keyof View | 'data' | 'matches';

export type Change = ReadonlySet<Topic>;

export type Listener = (change: Change) => void;

/**
 * A part of the page beside the ladder. The shell makes a tab for it, mounts it when it is
 * first opened, and tells it of changes while it is open; on opening it is told of all
 * topics.
 */
export interface Panel {
  /** Stands in permalinks: a word in lower case. */
  readonly id: string;
  /** What its tab says. */
  readonly title: string;
  /** The key that opens and closes it, as Keys writes keys. */
  readonly key?: string;
  /** Adds keys that work whether it is open or not. Called once, before everything else. */
  bind?(app: App): void;
  /** Builds its elements into el, which is its own. Called once. */
  mount(el: HTMLElement, app: App): void;
  /** Brings them up to date. */
  update(change: Change): void;
}

/** Where repetitions come from: blocks of the page, unpacked when somebody asks. */
export interface Source {
  repetition(run: number, n: number): Promise<Repetition>;
  /** The events of a repetition, as protobuf's JSON, by Moment.event. */
  events(run: number, n: number): Promise<Events>;
}

const topics: readonly Topic[] = [
  'run', 'repetition', 'connection', 'selected', 'pinned', 'mark', 'origin', 'filter', 'filterMode', 'scale', 'times',
  'range', 'layers', 'form', 'panel', 'compare', 'data', 'matches',
];

/** All topics: what a part is told when it is first shown. */
export const everything: Change = new Set(topics);

/** The view without moments and connections that the repetition does not have: links can be typed, or of another page. */
export function held(view: View, r: Repetition): View {
  const moment = (i: number | null): number | null => (i !== null && i < r.moments.length ? i : null);
  return {
    ...view, selected: moment(view.selected), pinned: moment(view.pinned), mark: moment(view.mark), origin: moment(view.origin),
    connection: view.connection <= r.connections.length ? view.connection : 0,
  };
}

export class App {
  readonly page: Page;
  readonly keys: Keys;
  /** The repetition that view is about; null while it is being unpacked. */
  repetition: Repetition | null = null;
  /**
   * For each moment of the repetition 1 if the filter names it; null without a filter. Set
   * by the filter through setMatches.
   */
  matches: Uint8Array | null = null;
  /** Where sentences for people who do not see the picture go; set by the shell. */
  announce: (sentence: string) => void = () => {};
  /**
   * The ladder as a document of its own, what is in sight of it or all, with colours for a
   * light or the present theme; null if there is none. Set by the shell.
   */
  picture: (whole: boolean) => SVGSVGElement | null = () => null;
  /** Where errors go; set by the shell. */
  fail: (what: string, error: unknown) => void = (what, error) => console.error(what, error);

  private state: View;
  private readonly source: Source;
  private readonly listeners = new Set<Listener>();
  private pending = new Set<Topic>();
  private scheduled = false;
  private readonly latest = new Latest();

  constructor(page: Page, source: Source, keys: Keys, view: View) {
    this.page = page;
    this.source = source;
    this.keys = keys;
    this.state = view;
  }

  get view(): View {
    return this.state;
  }

  /** The run that view is about. */
  get run(): Run {
    const run = this.page.runs[this.state.run];
    if (run === undefined) {
      throw new Error(`no run ${this.state.run}: the page has ${this.page.runs.length}`);
    }
    return run;
  }

  /**
   * Takes over choices. Another run or repetition clears what was chosen about the one
   * before. Listeners are told once of all that is set in one go.
   */
  set(patch: Partial<View>): void {
    let next: View = { ...this.state, ...patch };
    const moved = next.run !== this.state.run || next.repetition !== this.state.repetition;
    if (moved) {
      next = { ...next, selected: null, pinned: null, mark: null, origin: null, range: null, connection: 0, ...patch };
    }
    if (!moved && this.repetition !== null) {
      next = held(next, this.repetition);
    }
    const before = this.state;
    this.state = next;
    for (const key of Object.keys(next) as (keyof View)[]) {
      if (before[key] !== next[key]) {
        this.note(key);
      }
    }
    if (moved) {
      this.open();
    }
  }

  /** Sets which moments the filter names. */
  setMatches(matches: Uint8Array | null): void {
    this.matches = matches;
    this.note('matches');
  }

  /**
   * Another repetition's data, for parts that compare. It stays unpacked for a while; ask
   * again rather than keep it.
   */
  other(run: number, n: number): Promise<Repetition> {
    return this.source.repetition(run, n);
  }

  /** The events of the repetition that view is about. */
  events(): Promise<Events> {
    return this.source.events(this.state.run, this.state.repetition);
  }

  /** Unpacks the repetition that view is about, and tells listeners when it is there. */
  open(): void {
    const { run, repetition: n } = this.state;
    const wanted = this.latest.ask();
    this.repetition = null;
    this.matches = null;
    this.note('data');
    this.source.repetition(run, n).then(
      (repetition) => {
        if (wanted()) {
          this.repetition = repetition;
          this.note('data');
          // A link may name what this repetition does not have.
          this.set({});
        }
      },
      (error: unknown) => {
        if (wanted()) {
          this.fail(`repetition ${n} of run ${this.page.runs[run]?.id ?? run} cannot be shown`, error);
        }
      },
    );
  }

  /** Calls listener after changes until the function that it returns is called. */
  subscribe(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Tells listeners now what has changed, instead of after what runs now. */
  flush(): void {
    this.scheduled = false;
    while (this.pending.size > 0) {
      const change = this.pending;
      this.pending = new Set();
      for (const listener of this.listeners) {
        this.attempt(() => listener(change));
      }
    }
  }

  /** Lets a part of the page bring itself up to date. One that fails is told, and stops no other. */
  attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.fail('a part of the page does not show this view', error);
    }
  }

  private note(topic: Topic): void {
    this.pending.add(topic);
    if (!this.scheduled) {
      this.scheduled = true;
      // A microtask, not a frame: a tab in the background has no frames.
      queueMicrotask(() => {
        if (this.scheduled) {
          this.flush();
        }
      });
    }
  }
}
