/** Starts the page: unpacks what is known of all runs, and opens the repetition of the link or the worst. */
import { Address, windowPlace } from './address';
import { App, type View } from './app';
import { readHash, startView, writeHash } from './hash';
import { Keys } from './keys';
import { Blocks, loadPage } from './load';
import { Shell } from './shell';
import './style.css';

async function start(): Promise<void> {
  const place = document.getElementById('page');
  if (place === null) {
    throw new Error('the document has no place for the page');
  }
  try {
    const page = await loadPage(document);
    const begin = startView(page.open.run, page.open.repetition);
    const linked = (hash: string): View => {
      const view = readHash(hash, begin);
      return page.runs[view.run]?.repetitions.some((o) => o.n === view.repetition) === true ? view : begin;
    };
    const view = linked(location.hash);
    const app = new App(page, new Blocks(document, page), new Keys(), view);
    const shell = new Shell(app, new Address(windowPlace, {
      chosen: () => writeHash(app.view, begin),
      opened: (hash) => app.set(linked(hash)),
      failed: (error) => app.fail('the address cannot hold this view', error),
    }));
    shell.mount(place);
    if (page.runs[view.run]?.repetitions.some((o) => o.n === view.repetition) === true) {
      app.open();
    } else {
      app.fail('there is nothing to show', new Error('no repetition of these runs has events on record'));
    }
    document.documentElement.dataset['ready'] = 'true';
  } catch (error) {
    const message = document.createElement('p');
    message.className = 'alert';
    message.setAttribute('role', 'alert');
    message.textContent = `This page cannot be shown: ${error instanceof Error ? error.message : String(error)}`;
    place.append(message);
    throw error;
  }
}

void start();
