/** Light, dark, or as the system has it. */

export type Theme = 'auto' | 'light' | 'dark';

const themes: readonly Theme[] = ['auto', 'light', 'dark'];

/** Where the choice is kept. A page from a file may have no such place; then it is kept while it is open. */
const place = 'syncline.theme';

export class ThemeSwitch {
  private theme: Theme = 'auto';
  private readonly changed: () => void;

  constructor(changed: () => void) {
    this.changed = changed;
    try {
      const kept = localStorage.getItem(place);
      this.theme = themes.find((t) => t === kept) ?? 'auto';
    } catch {
      // No storage here: nothing was kept.
    }
    this.apply();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.changed());
  }

  get current(): Theme {
    return this.theme;
  }

  next(): Theme {
    this.theme = themes[(themes.indexOf(this.theme) + 1) % themes.length]!;
    try {
      localStorage.setItem(place, this.theme);
    } catch {
      // It is kept while the page is open.
    }
    this.apply();
    this.changed();
    return this.theme;
  }

  private apply(): void {
    if (this.theme === 'auto') {
      delete document.documentElement.dataset['theme'];
    } else {
      document.documentElement.dataset['theme'] = this.theme;
    }
  }
}
