/**
 * The ladder: time goes down, a lane for each host, slanted arrows between them. It shows
 * the part of the layout that is in sight, as SVG, or on a canvas where that has too many
 * marks, and answers pointer and keys.
 */
import type { App, Change, Panel, ScaleName, Topic } from '../app';
import { make } from '../elements';
import { plusMinus, span } from '../time';
import { drawCanvas } from './canvas';
import { svgDocument } from './document';
import { drawChoice } from './draw_choice';
import { type Frame, makeFrame } from './frame';
import { marksIn, type Window } from './geometry';
import { headsOf } from './heads';
import { hitTest } from './hit';
import { whenIdle } from './idle';
import { Minimap, minimapWidth } from './minimap';
import { drawWindow, mostDetailed } from './picture';
import { dimBy, makeScene, type Mark, type Scene } from './scene';
import { margin, Sight } from './sight';
import type { Times } from './sketch';
import { makeSpoken, speak } from './spoken';
import { variables } from './style';
import { type Colour, drawSVG } from './svg';
import { Tip } from './tip';
import { toggleLayer, Tools } from './tools';

const namespace = 'http://www.w3.org/2000/svg';

/** The width of a picture of the whole ladder at least, in pixels: that of a sheet of paper. */
const leastWidth = 1000;

export class Ladder implements Panel {
  readonly id = 'ladder';
  readonly title = 'Ladder';

  private app!: App;
  private sight!: Sight;
  private tip!: Tip;
  private tools!: Tools;
  private scene: Scene | null = null;
  private frame: Frame | null = null;
  /** Opened folds, by their knots. */
  private open = new Set<number>();
  /** The marks that keys are at, and that the pointer is on; -1 for none. */
  private active = -1;
  private hovered = -1;
  /** Keys were used last, not the pointer: the active mark is framed. */
  private byKeys = false;
  /** What is drawn now: a window that is higher than what is in sight. */
  private drawn: Window | null = null;
  private onCanvas = false;
  private scheduled = 0;
  private width = 0;
  private character = 7.2;
  private font = 'monospace';
  private colours = new Map<string, string>();
  private ownRange: readonly [number, number] | null = null;
  private rangeTimer = 0;
  private cancelMap = (): void => {};

  private readonly heads = make('div', { class: 'lane-heads' });
  private readonly svg = document.createElementNS(namespace, 'svg');
  private readonly picture = document.createElementNS(namespace, 'g');
  private readonly choice = document.createElementNS(namespace, 'g');
  private readonly canvas = make('canvas', { class: 'picture', 'aria-hidden': 'true', hidden: true });
  private readonly crosshair = make('div', { class: 'crosshair', hidden: true });
  private readonly marks = makeSpoken();
  private readonly errorBar = make('div', { class: 'error-bar' });
  private readonly state = make('div', { class: 'ladder-state', role: 'status' });
  private readonly body = make('div', { class: 'ladder-body' });
  private readonly map = new Minimap((place) => this.sight.put(place, this.sight.height / 2));

  mount(el: HTMLElement, app: App): void {
    this.app = app;
    this.tip = new Tip(app);
    this.tools = new Tools(app, { zoomBy: (factor) => this.zoomBy(factor), fit: () => this.fit() });
    this.sight = new Sight(this.body, {
      moved: (byHand) => {
        this.unhover(byHand);
        this.schedule();
      },
      rested: () => this.tellRange(),
    });
    this.svg.setAttribute('class', 'picture');
    this.svg.setAttribute('aria-hidden', 'true');
    this.svg.append(this.picture, this.choice);
    this.body.append(this.svg, this.canvas, this.crosshair, this.marks, this.state, this.map.canvas, this.errorBar, this.tip.el);
    el.classList.add('ladder');
    el.append(this.tools.el, this.heads, this.body);
    this.bindPointer();
    this.bindKeys();
    new ResizeObserver(() => this.resize()).observe(this.body);
    this.marks.addEventListener('focus', () => this.focused());
    this.marks.addEventListener('blur', () => this.schedule());
    this.readTheme();
  }

  update(change: Change): void {
    const any = (...topics: Topic[]): boolean => topics.some((t) => change.has(t));
    const { app } = this;
    this.tools.update();
    this.state.hidden = app.repetition !== null;
    if (app.repetition === null) {
      this.state.textContent = `unpacking repetition ${app.view.repetition} …`;
      return;
    }
    if (change.has('data')) {
      this.open.clear();
      this.active = -1;
      this.remake(true);
    } else if (any('scale', 'connection', 'layers', 'filterMode') || (any('matches') && app.view.filterMode === 'hide')) {
      this.remake(false);
    } else if (any('matches')) {
      this.redim();
    }
    if (any('times', 'origin')) {
      this.refit();
    }
    const { range } = app.view;
    if (change.has('range') && range !== this.ownRange) {
      // Someone else's: what is still to be told of an earlier move would undo it.
      clearTimeout(this.rangeTimer);
      this.ownRange = null;
      this.start();
    }
    if (any('selected', 'data')) {
      this.followSelection(change.has('selected'));
    }
    this.schedule();
  }

  /** Colours and fonts are read again after the theme has changed. */
  readTheme(): void {
    const style = getComputedStyle(document.documentElement);
    this.colours = new Map([...variables, 'view', 'surface', 'text'].map((v) => [v, style.getPropertyValue(`--${v}`).trim()]));
    this.font = style.getPropertyValue('--mono').trim() || 'monospace';
    const c = document.createElement('canvas').getContext('2d');
    if (c !== null) {
      c.font = `12px ${this.font}`;
      this.character = c.measureText('0'.repeat(40)).width / 40;
    }
    this.refit();
  }

  /**
   * The picture in sight, or the whole of it, as a document of its own; with the colours of
   * the theme in it, or with those of the page that it is put into.
   */
  toSVG(whole: boolean, ofPage = false): SVGSVGElement | null {
    const { scene, frame } = this;
    if (scene === null || frame === null) {
      return null;
    }
    const colour: Colour = ofPage ? (name) => `var(--${name})` : this.colour;
    if (!whole) {
      return svgDocument(this.app.run, scene, frame, this.sight.window(), this.times(), colour, this.font);
    }
    const scale = this.sight.scale();
    const w = { top: -margin / scale, scale, height: Math.ceil(scene.length * scale + 2 * margin) };
    const wide = makeFrame(scene, Math.max(leastWidth, frame.width), this.character, this.app.view.times === 'raw');
    return svgDocument(this.app.run, scene, wide, w, this.times(), colour, this.font);
  }

  private readonly colour = (name: string): string => this.colours.get(name) ?? '#888';

  /** Makes the scene again; what is looked at stays where it is, unless all is new. */
  private remake(fresh: boolean): void {
    const r = this.app.repetition;
    if (r === null) {
      return;
    }
    const before = this.scene;
    const anchor = fresh ? null : this.anchor();
    const { scale, connection, layers, filterMode } = this.app.view;
    this.scene = makeScene(r, { scale, connection, layers, filterMode, matches: this.app.matches, open: this.open });
    this.sight.scene = this.scene;
    const active = before?.marks[this.active];
    this.active = active === undefined || fresh ? -1 : this.scene.marks.findIndex((m) => m.kind === active.kind && m.ref === active.ref);
    this.unhover(true);
    this.refit();
    if (anchor !== null && !(anchor.top && scale !== before?.options.scale)) {
      this.sight.put(this.scene.places.of(anchor.at), anchor.y, ...(scale === before?.options.scale ? [] : [this.sight.startScale()]));
    } else {
      this.start();
    }
  }

  /** Dims by another filter: everything stays where it is. */
  private redim(): void {
    if (this.scene === null) {
      return;
    }
    dimBy(this.scene, this.app.matches);
    this.drawn = null;
    this.mapLater();
    this.schedule();
  }

  /**
   * Draws the whole at a glance once what is in sight is there: it takes as many marks as the
   * repetition has. Until then nothing stands in its place.
   */
  private mapLater(): void {
    this.map.forget();
    this.cancelMap();
    this.cancelMap = whenIdle(() => {
      if (this.scene !== null) {
        this.map.drawWhole(this.scene, this.sight.height, this.colour, this.font);
        this.schedule();
      }
    });
  }

  /** What should stay where it is: the selected moment if it is in sight, else the top or the middle. */
  private anchor(): { at: number; y: number; top: boolean } | null {
    const { scene, sight } = this;
    if (scene === null || sight.height === 0) {
      return null;
    }
    const { selected } = this.app.view;
    const m = selected === null ? undefined : scene.repetition.moments[selected];
    if (m !== undefined) {
      const y = sight.y(scene.rows[m.row] ?? NaN);
      if (y >= 0 && y <= sight.height) {
        return { at: m.at, y, top: false };
      }
    }
    const w = sight.window();
    const y = w.top <= 0 ? sight.y(0) : Math.min(w.height / 2, sight.y(scene.length));
    return { at: scene.places.at(w.top + y / w.scale), y, top: w.top <= 0 };
  }

  private refit(): void {
    this.drawn = null;
    if (this.scene === null || this.width === 0) {
      return;
    }
    this.frame = makeFrame(this.scene, this.sight.width, this.character, this.app.view.times === 'raw');
    this.layHeads();
    this.mapLater();
    this.sight.refit();
    this.schedule();
  }

  private resize(): void {
    const box = this.body.getBoundingClientRect();
    const first = this.width === 0;
    this.width = box.width;
    this.sight.width = box.width - minimapWidth;
    this.sight.height = box.height;
    this.refit();
    if (first && this.scene !== null && this.width > 0) {
      this.start();
    }
  }

  private layHeads(): void {
    if (this.scene !== null && this.frame !== null) {
      this.heads.replaceChildren(...headsOf(this.app.run, this.scene, this.frame, this.times()));
    }
  }

  private start(): void {
    const { range } = this.app.view;
    if (this.sight.height === 0) {
      return;
    }
    if (range !== null && range !== this.ownRange) {
      this.showRange(range);
      return;
    }
    this.sight.start();
    // What the lab did before the zero may fill all that is in sight.
    const zero = this.scene?.places.of(0) ?? 0;
    if (this.sight.y(zero) > this.sight.height * 0.75) {
      this.sight.put(zero, this.sight.height / 6);
    }
  }

  private fit(): void {
    this.sight.fit();
    this.app.announce('all of the ladder is in sight');
  }

  /** Zooms about the active mark if it is in sight, else about the middle. */
  private zoomBy(factor: number): void {
    const mark = this.scene?.marks[this.active];
    const own = mark === undefined ? NaN : this.sight.y(mark.from);
    this.sight.zoomBy(factor, own >= 0 && own <= this.sight.height ? own : this.sight.height / 2);
  }

  private showRange(range: readonly [number, number]): void {
    const { scene } = this;
    if (scene !== null && this.sight.height > 0) {
      this.sight.show(scene.places.of(range[0]), scene.places.of(range[1]));
    }
  }

  /** Tells others what is in sight, once moving has ended. */
  private tellRange(): void {
    clearTimeout(this.rangeTimer);
    this.rangeTimer = window.setTimeout(() => {
      const { scene } = this;
      if (scene === null || this.sight.height === 0 || this.app.repetition !== scene.repetition) {
        return;
      }
      const w = this.sight.window();
      const bottom = w.top + w.height / w.scale;
      const all = w.top <= 0 && bottom >= scene.length;
      this.ownRange = all ? null : [Math.round(scene.places.at(Math.max(0, w.top))), Math.round(scene.places.at(Math.min(bottom, scene.length)))];
      this.app.set({ range: this.ownRange });
    }, 200);
  }

  private times(): Times {
    const { times, origin } = this.app.view;
    return { raw: times === 'raw', origin: origin === null ? null : (this.app.repetition?.moments[origin] ?? null) };
  }

  private schedule(): void {
    if (this.scheduled === 0) {
      this.scheduled = requestAnimationFrame(() => {
        this.scheduled = 0;
        this.render();
      });
    }
  }

  /** Draws what is in sight, or moves what is drawn if that is enough. */
  private render(): void {
    const { scene, frame } = this;
    if (scene === null || frame === null || this.sight.height === 0) {
      return;
    }
    const w = this.sight.window();
    if (!this.covers(w)) {
      this.paint(scene, frame, w);
    }
    const { drawn } = this;
    if (drawn !== null) {
      const shift = (drawn.top - w.top) * w.scale;
      this.picture.setAttribute('transform', `translate(0,${shift})`);
      this.choice.setAttribute('transform', `translate(0,${shift})`);
      this.canvas.style.transform = `translateY(${shift}px)`;
      const { selected, pinned, mark } = this.app.view;
      const active = this.byKeys && this.marks === document.activeElement ? this.active : -1;
      drawSVG(this.choice, drawChoice(scene, frame, drawn, { selected, pinned, mark, active, hovered: this.hovered }));
    }
    this.map.show(w.top, w.top + w.height / w.scale, this.colour);
    this.showErrorBar(scene, w);
  }

  private covers(w: Window): boolean {
    const d = this.drawn;
    return d !== null && d.scale === w.scale && d.top <= w.top && d.top + d.height / d.scale >= w.top + w.height / w.scale;
  }

  /** Draws more than is in sight, so that scrolling only moves it. */
  private paint(scene: Scene, frame: Frame, w: Window): void {
    const more = 0.6 * w.height;
    const drawn: Window = { top: w.top - more / w.scale, scale: w.scale, height: w.height + 2 * more };
    this.drawn = drawn;
    this.onCanvas = marksIn(scene, drawn).length > mostDetailed;
    this.canvas.hidden = !this.onCanvas;
    if (this.onCanvas) {
      this.picture.replaceChildren();
      this.paintCanvas(scene, frame, drawn);
    } else {
      drawSVG(this.picture, drawWindow(scene, frame, drawn, this.times()));
    }
  }

  private paintCanvas(scene: Scene, frame: Frame, w: Window): void {
    const ratio = devicePixelRatio;
    const [width, height] = [Math.round(frame.width * ratio), Math.round(w.height * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.canvas.style.width = `${frame.width}px`;
      this.canvas.style.height = `${w.height}px`;
    }
    const context = this.canvas.getContext('2d');
    if (context === null) {
      this.app.fail('the ladder cannot be drawn', new Error('this browser gives no 2d context for a canvas'));
      return;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, frame.width, w.height);
    drawCanvas(context, drawWindow(scene, frame, w, this.times()), this.colour, this.font);
  }

  /** Shows the ± of the clocks in the scale of the picture: what is shorter means nothing between hosts. */
  private showErrorBar(scene: Scene, w: Window): void {
    const { err } = scene;
    this.errorBar.hidden = err === 0 || scene.options.scale !== 'linear';
    if (this.errorBar.hidden) {
      return;
    }
    if (err === null) {
      this.errorBar.replaceChildren(make('span', {}, '±?: nothing ties the clocks of the hosts'));
      return;
    }
    const middle = scene.places.at(w.top + w.height / w.scale / 2);
    const pixels = (scene.places.of(middle + err) - scene.places.of(middle - err)) * w.scale;
    const most = w.height * 0.6;
    const bar = make('span', { class: 'bar' });
    bar.style.height = `${Math.min(Math.max(1, pixels), most)}px`;
    this.errorBar.replaceChildren(bar, make('span', {}, pixels > most ? `${plusMinus(err)}: more than is in sight` : `${plusMinus(err)} between hosts`));
  }

  private bindPointer(): void {
    const at = (e: MouseEvent): [number, number] => {
      const box = this.body.getBoundingClientRect();
      return [e.clientX - box.left, e.clientY - box.top];
    };
    const onMap = (e: Event): boolean => e.target === this.map.canvas;
    this.body.addEventListener('pointermove', (e) => {
      if (onMap(e) || e.buttons !== 0) {
        this.unhover(true);
      } else {
        this.hover(...at(e));
      }
    });
    this.body.addEventListener('pointerleave', () => this.unhover(true));
    this.body.addEventListener('click', (e) => {
      if (e.defaultPrevented || onMap(e)) {
        return;
      }
      const [x, y] = at(e);
      const hit = this.hitAt(x, y);
      this.marks.focus({ preventScroll: true });
      if (hit < 0) {
        this.app.set({ selected: null, pinned: null });
        return;
      }
      this.activate(hit, false);
      this.enter(this.nearerMoment(hit, x, y));
    });
  }

  private hitAt(x: number, y: number): number {
    return this.scene === null || this.frame === null ? -1 : hitTest(this.scene, this.frame, this.sight.window(), x, y);
  }

  /** Of a mark with two moments the one whose end was pointed at. */
  private nearerMoment(hit: number, x: number, y: number): number | null {
    const { scene, frame } = this;
    const mark = scene?.marks[hit];
    if (scene === null || frame === null || mark === undefined || mark.moments.length === 0) {
      return null;
    }
    if (mark.kind === 'note') {
      return mark.moments.at(-1)!;
    }
    const distance = (moment: number): number => {
      const m = scene.repetition.moments[moment]!;
      const lane = scene.repetition.layout.lanes.findIndex((l) => l.host === m.host);
      return Math.hypot(mark.kind === 'arrow' ? (frame.lanes[lane]?.x ?? x) - x : 0, this.sight.y(scene.rows[m.row] ?? 0) - y);
    };
    return mark.moments.reduce((best, m) => (distance(m) < distance(best) ? m : best));
  }

  private hover(x: number, y: number): void {
    const { scene } = this;
    if (scene === null) {
      return;
    }
    const w = this.sight.window();
    this.crosshair.hidden = false;
    this.crosshair.style.transform = `translateY(${y}px)`;
    const time = scene.places.at(w.top + y / w.scale) - (this.times().origin?.at ?? 0);
    this.crosshair.dataset['time'] = scene.options.scale === 'linear' ? span(time) : '';
    const hit = this.hitAt(x, y);
    if (hit !== this.hovered) {
      this.unhover(false);
      this.hovered = hit;
      this.schedule();
      this.body.classList.toggle('pointing', hit >= 0);
      if (hit >= 0) {
        this.tip.show(scene, scene.marks[hit]!);
      }
    }
    if (hit >= 0) {
      this.tip.move(x, y, this.sight.width, this.sight.height);
    }
  }

  private unhover(gone: boolean): void {
    this.tip.hide();
    this.body.classList.remove('pointing');
    if (gone) {
      this.crosshair.hidden = true;
    }
    if (this.hovered >= 0) {
      this.hovered = -1;
      this.schedule();
    }
  }

  private bindKeys(): void {
    document.addEventListener('keydown', () => this.useKeys(true), { capture: true });
    document.addEventListener('pointerdown', () => this.useKeys(false), { capture: true });
    const { keys } = this.app;
    const group = 'Ladder';
    const add = (names: readonly string[], does: string, run: () => boolean | void): void => {
      keys.add({ keys: names, does, group, run: () => (this.shown() ? run() : false) });
    };
    const pan = (part: number): void => this.sight.panBy(this.sight.height * part);
    add(['ArrowDown', 'j'], 'next mark', () => this.step(1));
    add(['ArrowUp', 'k'], 'previous mark', () => this.step(-1));
    add(['ArrowRight'], 'along the arrow or the call to its other end', () => this.across(1));
    add(['ArrowLeft'], 'back to its beginning', () => this.across(-1));
    add(['Enter', ' '], 'pin what is selected and show all that is known of it; open or close a fold', () => this.enter(this.app.view.selected));
    add(['Home', 'g'], 'first mark', () => this.step(-Infinity));
    add(['End', 'G'], 'last mark', () => this.step(Infinity));
    add(['w', 'Ctrl+ArrowUp'], 'move up', () => pan(0.2));
    add(['s', 'Ctrl+ArrowDown'], 'move down', () => pan(-0.2));
    add(['PageUp'], 'a page up', () => pan(0.9));
    add(['PageDown'], 'a page down', () => pan(-0.9));
    add(['+', '=', 'd'], 'zoom in', () => this.zoomBy(1.6));
    add(['-', 'a'], 'zoom out', () => this.zoomBy(1 / 1.6));
    add(['0'], 'show all', () => this.fit());
    add(['l'], 'next scale: row, linear, log', () => this.nextScale());
    add(['u'], "times of the lab's clock, or each host's own, raw", () => this.app.set({ times: this.app.view.times === 'raw' ? 'lab' : 'raw' }));
    for (const [key, layer, text] of [['1', 'calls', 'calls'], ['2', 'packets', 'packets'], ['3', 'states', 'states'], ['4', 'notes', 'notes'], ['5', 'lab', 'steps of the lab']] as const) {
      add([key], `show or hide ${text}`, () => toggleLayer(this.app, layer));
    }
  }

  private useKeys(keys: boolean): void {
    if (this.byKeys !== keys) {
      this.byKeys = keys;
      this.body.classList.toggle('by-keys', keys);
      this.schedule();
    }
  }

  private shown(): boolean {
    return this.app.view.form === 'picture' && this.sight.height > 0;
  }

  private nextScale(): void {
    const scales: readonly ScaleName[] = ['row', 'linear', 'log'];
    const scale = scales[(scales.indexOf(this.app.view.scale) + 1) % scales.length]!;
    this.app.set({ scale });
    this.app.announce(`scale: ${scale}`);
  }

  /** Goes so many marks on; without an active one, to the first in sight. */
  private step(by: number): void {
    const { scene } = this;
    if (scene === null || scene.order.length === 0) {
      return;
    }
    const last = scene.order.length - 1;
    const at = this.active >= 0 ? scene.order.indexOf(this.active) : this.firstInSight(scene) - Math.sign(by);
    const next = scene.order[Math.min(last, Math.max(0, at + by))]!;
    if (document.activeElement === document.body) {
      this.active = next;
      this.marks.focus({ preventScroll: true });
    }
    this.activate(next, true);
  }

  private firstInSight(scene: Scene): number {
    const { top } = this.sight.window();
    return Math.max(0, scene.order.findIndex((i) => scene.marks[i]!.from >= top));
  }

  /** Selects the last moment of the active mark, or its first. */
  private across(way: 1 | -1): void {
    const mark = this.scene?.marks[this.active];
    const moment = way > 0 ? mark?.moments.at(-1) : mark?.moments[0];
    if (moment !== undefined) {
      this.app.set({ selected: moment });
      this.app.announce(this.app.repetition?.moments[moment]?.text ?? '');
    }
  }

  private focused(): void {
    if (this.active < 0 && this.byKeys) {
      this.step(1);
    }
    this.schedule();
  }

  /** Makes a mark the active one: it is selected, brought into sight and told of. */
  private activate(index: number, reveal: boolean): void {
    const { scene } = this;
    const mark = scene?.marks[index];
    if (scene === null || mark === undefined) {
      return;
    }
    this.active = index;
    const moment = mark.kind === 'note' ? mark.moments.at(-1) : mark.moments[0];
    if (moment !== undefined && !mark.moments.includes(this.app.view.selected ?? -1)) {
      this.app.set({ selected: moment });
    }
    if (reveal) {
      this.sight.reveal(mark.from, mark.to);
    }
    speak(this.marks, scene, index);
    this.schedule();
  }

  private enter(moment: number | null): boolean | void {
    const mark = this.scene?.marks[this.active];
    if (mark?.kind === 'fold') {
      this.toggleFold(mark);
      return;
    }
    if (moment === null) {
      return false;
    }
    this.app.set({ selected: moment, pinned: moment });
  }

  /** Opens or closes a fold; its beginning stays where it is. */
  private toggleFold(fold: Mark): void {
    const opened = !this.open.has(fold.ref);
    if (opened) {
      this.open.add(fold.ref);
    } else {
      this.open.delete(fold.ref);
    }
    const y = this.sight.y(fold.from);
    this.remake(false);
    this.sight.put(this.scene?.places.knots[fold.ref]?.place ?? 0, Math.max(y, margin));
    this.app.announce(opened ? 'the quiet time is open' : 'the quiet time is folded');
  }

  /** Makes the mark of the selected moment the active one. */
  private followSelection(reveal: boolean): void {
    const { scene } = this;
    const { selected } = this.app.view;
    if (scene === null || selected === null) {
      return;
    }
    const own = (scene.ofMoment.get(selected) ?? []).map((i) => scene.marks[i]!);
    const mark = own.find((m) => m.kind !== 'note') ?? own[0];
    if (mark === undefined || own.some((m) => m.index === this.active)) {
      return;
    }
    this.active = mark.index;
    if (reveal && this.sight.height > 0) {
      this.sight.reveal(mark.from, mark.to);
    }
    speak(this.marks, scene, mark.index);
  }
}
