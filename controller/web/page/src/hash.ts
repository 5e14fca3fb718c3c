/** Permalinks: what a person has chosen to see, in the part of the address behind "#". */
import type { Layers, ScaleName, View } from './app';

/** What a page shows before anybody has chosen. */
export function startView(run: number, repetition: number): View {
  return {
    run, repetition, connection: 0, selected: null, pinned: null, mark: null, origin: null, filter: '', filterMode: 'dim',
    scale: 'row', times: 'lab', range: null, form: 'picture', panel: 'notes', compare: '',
    layers: { calls: true, packets: true, states: true, notes: true, lab: true },
  };
}

const layerNames: readonly (keyof Layers)[] = ['calls', 'packets', 'states', 'notes', 'lab'];

/** Writes what differs from the start. */
export function writeHash(view: View, start: View): string {
  const p = new URLSearchParams();
  const put = (name: string, value: string | number | null, was: string | number | null): void => {
    if (value !== was && value !== null) {
      p.set(name, String(value));
    }
  };
  put('run', view.run + 1, start.run + 1);
  if (view.repetition !== start.repetition || view.run !== start.run) {
    p.set('rep', String(view.repetition));
  }
  put('conn', view.connection, start.connection);
  put('at', view.selected, start.selected);
  put('pin', view.pinned, start.pinned);
  put('from', view.mark, start.mark);
  put('zero', view.origin, start.origin);
  put('filter', view.filter, start.filter);
  put('rest', view.filterMode, start.filterMode);
  put('scale', view.scale, start.scale);
  put('times', view.times, start.times);
  put('form', view.form, start.form);
  put('panel', view.panel === '' ? 'none' : view.panel, start.panel === '' ? 'none' : start.panel);
  put('with', view.compare, start.compare);
  if (view.range !== null) {
    p.set('range', view.range.map(Math.round).join('..'));
  }
  const hidden = layerNames.filter((l) => !view.layers[l]);
  if (hidden.length > 0) {
    p.set('hide', hidden.join(' '));
  }
  return p.toString();
}

/**
 * Reads what writeHash wrote, of links that people have typed or cut as well: what makes no
 * sense stays as it is at the start.
 */
export function readHash(hash: string, start: View): View {
  const p = new URLSearchParams(hash.replace(/^#/, ''));
  const count = (name: string): number | null => {
    const text = p.get(name);
    return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : null;
  };
  const word = <T extends string>(name: string, words: readonly T[], otherwise: T): T => words.find((w) => w === p.get(name)) ?? otherwise;
  const hidden = (p.get('hide') ?? '').split(' ');
  const range = /^(-?\d{1,16})\.\.(-?\d{1,16})$/.exec(p.get('range') ?? '');
  const layers = { ...start.layers };
  for (const l of layerNames) {
    layers[l] = !hidden.includes(l);
  }
  const run = count('run');
  return {
    ...start,
    run: run === null || run === 0 ? start.run : run - 1,
    repetition: count('rep') ?? start.repetition,
    connection: count('conn') ?? start.connection,
    selected: count('at'), pinned: count('pin'), mark: count('from'), origin: count('zero'),
    filter: p.get('filter') ?? start.filter,
    filterMode: word('rest', ['dim', 'hide'], start.filterMode),
    scale: word<ScaleName>('scale', ['row', 'linear', 'log'], start.scale),
    times: word('times', ['lab', 'raw'], start.times),
    form: word('form', ['picture', 'table'], start.form),
    panel: p.get('panel') === 'none' ? '' : /^[a-z]+$/.test(p.get('panel') ?? '') ? p.get('panel')! : start.panel,
    compare: p.get('with') ?? start.compare,
    range: range !== null && Number(range[1]) < Number(range[2]) ? [Number(range[1]), Number(range[2])] : null,
    layers,
  };
}
