/** The buttons above the ladder. */
import type { App, Layer, ScaleName } from '../app';
import { make } from '../elements';

/** What they ask of the ladder. */
export interface Asked {
  zoomBy(factor: number): void;
  fit(): void;
}

export class Tools {
  readonly el = make('div', { class: 'ladder-tools', role: 'group', 'aria-label': 'how the ladder is shown' });
  private readonly choices: { el: HTMLButtonElement; pressed: () => boolean }[] = [];

  constructor(app: App, ladder: Asked) {
    const scale = (name: ScaleName, title: string): HTMLElement => this.choice(name, title, () => app.set({ scale: name }), () => app.view.scale === name);
    const layer = (name: Layer, text: string): HTMLElement => this.choice(text, `show or hide ${text}`, () => toggleLayer(app, name), () => app.view.layers[name]);
    this.el.append(
      group('scale of time', scale('row', 'a row for each moment'), scale('linear', 'equal times are equally long; quiet times are folded'), scale('log', 'each time is as long as its logarithm')),
      group('clock', this.choice('lab', "the lab's clock, with its ±", () => app.set({ times: 'lab' }), () => app.view.times === 'lab'),
        this.choice('raw', "each host's own clock, as it read", () => app.set({ times: 'raw' }), () => app.view.times === 'raw')),
      group('layers', layer('calls', 'calls'), layer('packets', 'packets'), layer('states', 'states'), layer('notes', 'notes'), layer('lab', 'lab steps')),
      group('zoom', button('−', 'zoom out (-)', () => ladder.zoomBy(1 / 1.6)), button('+', 'zoom in (+)', () => ladder.zoomBy(1.6)), button('fit', 'show all (0)', () => ladder.fit())),
      group('form', button('table', 'a table instead of the picture (t)', () => app.set({ form: 'table' }))),
    );
  }

  /** Shows which choices are made. */
  update(): void {
    for (const c of this.choices) {
      c.el.setAttribute('aria-pressed', String(c.pressed()));
    }
  }

  private choice(text: string, title: string, press: () => void, pressed: () => boolean): HTMLElement {
    const el = button(text, title, press);
    this.choices.push({ el, pressed });
    return el;
  }
}

export function toggleLayer(app: App, name: Layer): void {
  const { layers } = app.view;
  app.set({ layers: { ...layers, [name]: !layers[name] } });
  app.announce(`${name}: ${layers[name] ? 'hidden' : 'shown'}`);
}

function button(text: string, title: string, press: () => void): HTMLButtonElement {
  return make('button', { type: 'button', title, onclick: press }, text);
}

function group(label: string, ...buttons: HTMLElement[]): HTMLElement {
  return make('div', { class: 'group', role: 'group', 'aria-label': label }, ...buttons);
}
