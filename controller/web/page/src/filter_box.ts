/** The filter's box: what a person types, its chips, how many it names, what is wrong. */
import type { App, Change } from './app';

export class FilterBox {
  /** Builds the box into el, which is its own, and begins to answer the app's filter. */
  mount(_el: HTMLElement, _app: App): void {}

  /** Brings it up to date, and the app's matches with it. */
  update(_change: Change): void {}
}
