/**
 * Keeps the address in step with what is chosen, both ways. Two go for it: the page, a little
 * after each choice, and whoever opens a link. The newer one holds:
 *
 *  - A link that is opened ends a write that is still to come. Its address is not written
 *    over with the view before it, not even if the page has not heard of it yet.
 *  - What is chosen after the link was heard of is written again.
 *
 * Browsers tell of a link twice. popstate comes while the address changes, before anything
 * else runs, and also where the address stays the same. hashchange comes in a later turn, and
 * a timer may be between them; it counts only where popstate has not told the same already.
 */

/** Where the address is: the window's, or a test's. */
export interface Place {
  /** What stands behind "#" now, "" if nothing does. */
  read(): string;
  /** Puts something else there, without an entry of the history and without an event. */
  write(hash: string): void;
  /** Has it told when somebody else has put something there. */
  listen(told: (event: 'popstate' | 'hashchange') => void): void;
}

/** What an address is of. */
export interface Subject {
  /** What is chosen now, as it stands behind "#". */
  chosen(): string;
  /** Takes over what a link says. */
  opened(hash: string): void;
  /** Tells that the browser refused an address. */
  failed(error: unknown): void;
}

/** How long a choice waits for others before it is written, ms: browsers refuse more than some hundred writes in half a minute. */
export const patience = 100;

export class Address {
  private readonly place: Place;
  private readonly subject: Subject;
  /** What stood there when the page last wrote or read it. */
  private known: string;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(place: Place, subject: Subject) {
    this.place = place;
    this.subject = subject;
    this.known = place.read();
    place.listen((event) => this.told(event));
  }

  /** Writes what is chosen a little later, with whatever is chosen until then. */
  later(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.write();
    }, patience);
  }

  private write(): void {
    if (this.place.read() !== this.known) {
      // Somebody has opened a link, and the event that says so is on its way.
      return;
    }
    try {
      this.place.write(this.subject.chosen());
    } catch (error) {
      this.subject.failed(error);
    }
    this.known = this.place.read();
  }

  private told(event: 'popstate' | 'hashchange'): void {
    const hash = this.place.read();
    if (event === 'hashchange' && hash === this.known) {
      return;
    }
    clearTimeout(this.timer);
    this.timer = undefined;
    this.known = hash;
    this.subject.opened(hash);
  }
}

/** The address of the window. */
export const windowPlace: Place = {
  read: () => location.hash.replace(/^#/, ''),
  write: (hash) => history.replaceState(null, '', hash === '' ? location.pathname + location.search : `#${hash}`),
  listen: (told) => {
    for (const event of ['popstate', 'hashchange'] as const) {
      addEventListener(event, () => told(event));
    }
  },
};
