/**
 * The ladder: time goes down, a lane for each host, slanted arrows between them. It shows
 * the part of the layout that is in sight, as SVG, or on a canvas where that has too many
 * marks, and answers pointer and keys.
 */
import { select } from 'd3-selection';
import { type D3ZoomEvent, zoom as makeZoom, type ZoomBehavior, zoomIdentity, type ZoomTransform, zoomTransform } from 'd3-zoom';
import type { App, Change, Layer, Panel, ScaleName, Topic } from '../app';
import { make } from '../elements';
import { eventFacts } from '../event_facts';
import { plusMinus, span } from '../time';
import { drawCanvas } from './canvas';
import { type Frame, makeFrame, rowHeight } from './frame';
import { hitTest } from './hit';
import { Minimap, minimapWidth } from './minimap';
import { makeScene, type Mark, type Scene } from './scene';
import { drawChoice, drawWindow, marksIn, mostDetailed, timeHead, type Times, type Window } from './shapes';
import { drawSVG } from './svg';
import { variables } from './style';
import { markWords, ownTime, timeWords } from './words';

const namespace = 'http://www.w3.org/2000/svg';

/** Room above the first row and below the last, in pixels. */
const margin = 14;

/** How many marks around the active one a screen reader is told of. */
const spoken = 12;

export class Ladder implements Panel {
  readonly id = 'ladder';
  readonly title = 'Ladder';

  private app!: App;
  private scene: Scene | null = null;
  private frame: Frame | null = null;
  private open = new Set<number>();
  private active = -1;
  private hovered = -1;
  /** What is drawn now: a window that is higher than what is in sight. */
  private drawn: Window | null = null;
  private onCanvas = false;
  private scheduled = 0;
  private width = 0;
  private height = 0;
  private character = 7.2;
  private font = 'monospace';
  private colours = new Map<string, string>();
  private ownRange: readonly [number, number] | null = null;
  private rangeTimer = 0;
  /** Keys were used last, not the pointer: the active mark is framed. */
  private byKeys = false;
  private zoom!: ZoomBehavior<HTMLElement, unknown>;

  private readonly heads = make('div', { class: 'lane-heads' });
  private readonly svg = document.createElementNS(namespace, 'svg');
  private readonly picture = document.createElementNS(namespace, 'g');
  private readonly choice = document.createElementNS(namespace, 'g');
  private readonly canvas = make('canvas', { class: 'picture', 'aria-hidden': 'true', hidden: true });
  private readonly crosshair = make('div', { class: 'crosshair', hidden: true });
  private readonly tip = make('div', { class: 'tip', hidden: true });
  private readonly marks = make('ul', { class: 'spoken', role: 'listbox', tabindex: 0, 'aria-label': 'marks of the ladder' });
  private readonly errorBar = make('div', { class: 'error-bar' });
  private readonly state = make('div', { class: 'ladder-state', role: 'status' });
  private readonly body = make('div', { class: 'ladder-body' });
  private readonly map = new Minimap((place) => this.centre(place));
  private readonly tools = make('div', { class: 'ladder-tools', role: 'toolbar', 'aria-label': 'ladder' });
  private readonly choices: { el: HTMLButtonElement; pressed: () => boolean }[] = [];

  mount(el: HTMLElement, app: App): void {
    this.app = app;
    this.svg.setAttribute('class', 'picture');
    this.svg.setAttribute('aria-hidden', 'true');
    this.svg.append(this.picture, this.choice);
    this.body.append(this.svg, this.canvas, this.crosshair, this.marks, this.state, this.map.canvas, this.errorBar, this.tip);
    this.makeTools();
    el.classList.add('ladder');
    el.append(this.tools, this.heads, this.body);
    this.bindZoom();
    this.bindPointer();
    this.bindKeys();
    new ResizeObserver(() => this.resize()).observe(this.body);
    this.marks.addEventListener('focus', () => this.focusFirst());
    this.readTheme();
  }

  update(change: Change): void {
    const any = (...topics: Topic[]): boolean => topics.some((t) => change.has(t));
    const { app } = this;
    for (const c of this.choices) {
      c.el.setAttribute('aria-pressed', String(c.pressed()));
    }
    if (app.repetition === null) {
      this.state.textContent = `unpacking repetition ${app.view.repetition} …`;
      this.state.hidden = false;
      return;
    }
    this.state.hidden = true;
    if (change.has('data')) {
      this.open.clear();
      this.active = -1;
      this.hovered = -1;
      this.remake(true);
    } else if (any('scale', 'connection', 'layers', 'filterMode') || (change.has('matches'))) {
      this.remake(change.has('scale'));
    }
    if (any('times', 'origin')) {
      this.drawn = null;
    }
    if (change.has('range') && app.view.range !== this.ownRange && app.view.range !== null) {
      this.showRange(app.view.range);
    }
    if (any('selected', 'pinned', 'mark', 'data')) {
      this.followSelection(change.has('selected'));
    }
    this.schedule();
  }

  /** Colours and fonts are read again after the theme has changed. */
  readTheme(): void {
    const style = getComputedStyle(document.documentElement);
    this.colours = new Map([...variables, 'view', 'surface'].map((v) => [v, style.getPropertyValue(`--${v}`).trim()]));
    this.font = style.getPropertyValue('--mono').trim() || 'monospace';
    const c = document.createElement('canvas').getContext('2d');
    if (c !== null) {
      c.font = `12px ${this.font}`;
      this.character = c.measureText('0'.repeat(40)).width / 40;
    }
    this.refit();
  }

  /** The picture in sight, or the whole of it, as a document of its own with its colours in it. */
  toSVG(whole: boolean): SVGSVGElement | null {
    const { scene, frame } = this;
    if (scene === null || frame === null) {
      return null;
    }
    const w = whole
      ? { top: -margin / rowHeight, scale: this.scale(), height: Math.ceil(scene.length * this.scale() + 2 * margin) }
      : this.inSight();
    const svg = document.createElementNS(namespace, 'svg');
    const head = 34;
    svg.setAttribute('xmlns', namespace);
    svg.setAttribute('width', String(frame.width));
    svg.setAttribute('height', String(w.height + head));
    svg.setAttribute('viewBox', `0 0 ${frame.width} ${w.height + head}`);
    svg.setAttribute('font-family', this.font);
    const title = document.createElementNS(namespace, 'title');
    title.textContent = `Ladder of repetition ${scene.repetition.n} of run ${this.app.run.id}, ${this.app.run.experiment}`;
    const desc = document.createElementNS(namespace, 'desc');
    desc.textContent = scene.repetition.summary.join(' ');
    const back = document.createElementNS(namespace, 'rect');
    back.setAttribute('width', '100%');
    back.setAttribute('height', '100%');
    back.setAttribute('fill', this.colour('surface'));
    const names = document.createElementNS(namespace, 'g');
    scene.repetition.layout.lanes.forEach((l, i) => {
      const text = document.createElementNS(namespace, 'text');
      text.setAttribute('x', String(frame.lanes[i]!.x));
      text.setAttribute('y', '20');
      text.setAttribute('text-anchor', 'middle');
      text.setAttribute('font-size', '13');
      text.setAttribute('font-weight', '700');
      text.setAttribute('fill', this.colour('text'));
      text.textContent = [l.name, ...l.roles].join(' · ');
      names.append(text);
    });
    const picture = document.createElementNS(namespace, 'g');
    picture.setAttribute('transform', `translate(0,${head})`);
    drawSVG(picture, drawWindow(scene, frame, w, this.times()), this.colour);
    svg.append(title, desc, back, names, picture);
    return svg;
  }

  private readonly colour = (name: string): string => this.colours.get(name) ?? '#888';

  private makeTools(): void {
    const { app } = this;
    const button = (text: string, title: string, press: () => void, pressed?: () => boolean): HTMLButtonElement => {
      const el = make('button', { type: 'button', title, onclick: press }, text);
      if (pressed !== undefined) {
        this.choices.push({ el, pressed });
      }
      return el;
    };
    const group = (label: string, ...buttons: HTMLElement[]): HTMLElement => make('div', { class: 'group', role: 'group', 'aria-label': label }, ...buttons);
    const scale = (name: ScaleName, title: string): HTMLButtonElement => button(name, title, () => app.set({ scale: name }), () => app.view.scale === name);
    const layer = (name: Layer, text: string): HTMLButtonElement => button(
      text, `show ${text}`, () => this.toggleLayer(name), () => app.view.layers[name]);
    this.tools.append(
      group('scale of time', scale('row', 'a row for each moment'), scale('linear', 'equal times are equally long; quiet times are folded'), scale('log', 'each time is as long as its logarithm')),
      group('clock', button('lab', "the lab's clock, with its ±", () => app.set({ times: 'lab' }), () => app.view.times === 'lab'),
        button('raw', "each host's own clock, as it read", () => app.set({ times: 'raw' }), () => app.view.times === 'raw')),
      group('layers', layer('calls', 'calls'), layer('packets', 'packets'), layer('states', 'states'), layer('notes', 'notes'), layer('lab', 'lab steps')),
      group('zoom', button('−', 'zoom out (-)', () => this.zoomBy(1 / 1.6)), button('+', 'zoom in (+)', () => this.zoomBy(1.6)), button('fit', 'show all (0)', () => this.fit())),
      group('form', button('table', 'a table instead of the picture (t)', () => app.set({ form: app.view.form === 'table' ? 'picture' : 'table' }), () => app.view.form === 'table')),
    );
  }

  private toggleLayer(name: Layer): void {
    const { layers } = this.app.view;
    this.app.set({ layers: { ...layers, [name]: !layers[name] } });
  }

  /** Makes the scene again; the time that is in the middle stays there, unless all is new. */
  private remake(fresh: boolean): void {
    const r = this.app.repetition;
    if (r === null) {
      return;
    }
    const before = this.scene;
    const anchor = before !== null && before.repetition === r ? this.anchor() : null;
    const { scale, connection, layers, filterMode } = this.app.view;
    this.scene = makeScene(r, { scale, connection, layers, filterMode, matches: this.app.matches, open: this.open });
    this.active = this.active >= 0 && before !== null ? this.sameMark(before.marks[this.active]!) : -1;
    this.hovered = -1;
    this.refit();
    if (anchor !== null && this.scene !== null) {
      const k = scale === before?.options.scale ? this.transform().k : this.startScale();
      const y = anchor.y - this.scene.places.of(anchor.at) * rowHeight * k;
      this.moveTo(k, y);
    } else if (fresh) {
      this.start();
    }
  }

  /** What should stay where it is: the selected moment if it is in sight, else the middle. */
  private anchor(): { at: number; y: number } | null {
    const { scene } = this;
    if (scene === null) {
      return null;
    }
    const w = this.inSight();
    const { selected } = this.app.view;
    if (selected !== null) {
      const m = scene.repetition.moments[selected];
      const p = m === undefined ? NaN : (scene.rows[m.row] ?? NaN);
      const y = (p - w.top) * w.scale;
      if (m !== undefined && y >= 0 && y <= w.height) {
        return { at: m.at, y };
      }
    }
    const y = Math.min(w.height / 2, (scene.length - w.top) * w.scale);
    return { at: scene.places.at(w.top + y / w.scale), y };
  }

  private sameMark(mark: Mark): number {
    return this.scene?.marks.findIndex((m) => m.kind === mark.kind && m.ref === mark.ref) ?? -1;
  }

  private refit(): void {
    this.drawn = null;
    if (this.scene === null || this.width === 0) {
      return;
    }
    this.frame = makeFrame(this.scene, this.width - minimapWidth, this.character);
    this.layHeads();
    this.map.drawWhole(this.scene, this.height, this.colour, this.font);
    const least = Math.min(1, this.fitScale());
    this.zoom.scaleExtent([least, this.mostScale()]);
    this.schedule();
  }

  private resize(): void {
    const box = this.body.getBoundingClientRect();
    const first = this.width === 0;
    this.width = box.width;
    this.height = box.height;
    this.refit();
    if (first && this.scene !== null && this.width > 0) {
      this.start();
    }
  }

  private layHeads(): void {
    const { scene, frame } = this;
    if (scene === null || frame === null) {
      return;
    }
    const r = scene.repetition;
    const time = make('div', { class: 'time-head' }, timeHead(r, this.times()));
    time.style.width = `${frame.time - 8}px`;
    this.heads.replaceChildren(time, ...r.layout.lanes.map((l, i) => {
      const host = this.app.run.hosts[l.host];
      const clock = r.clocks[l.host];
      const err = clock !== undefined && clock.low !== '' && clock.high !== '' ? Number((BigInt(clock.high) - BigInt(clock.low) + 1n) / 2n) : null;
      const tie = l.reference ? "the lab's clock" : host?.sameClock ? 'the same clock' : plusMinus(err);
      const head = make('div', { class: 'lane-head', title: `${l.name}${l.agent !== l.name ? ` on ${l.agent}` : ''}: ${clock?.method ?? ''}` },
        make('strong', {}, l.name), make('span', { class: 'roles' }, l.roles.join(', ')), make('span', { class: 'tie' }, tie));
      head.style.left = `${frame.lanes[i]!.x}px`;
      return head;
    }));
  }

  private bindZoom(): void {
    this.zoom = makeZoom<HTMLElement, unknown>()
      .filter((event: Event) => event instanceof WheelEvent ? event.ctrlKey : !(event instanceof MouseEvent && (event.button !== 0 || event.type === 'dblclick')))
      .clickDistance(4)
      .extent(() => [[0, 0], [Math.max(1, this.width - minimapWidth), Math.max(1, this.height)]])
      .constrain((t) => this.constrain(t))
      .on('start', () => this.body.classList.add('moving'))
      .on('zoom', (event: D3ZoomEvent<HTMLElement, unknown>) => {
        this.hideTip(event.sourceEvent instanceof Event);
        this.schedule();
      })
      .on('end', () => {
        this.body.classList.remove('moving');
        this.tellRange();
      });
    select<HTMLElement, unknown>(this.body).call(this.zoom).on('dblclick.zoom', null);
    this.body.addEventListener('wheel', (e) => {
      if (!e.ctrlKey) {
        const lines = e.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : e.deltaMode === WheelEvent.DOM_DELTA_PAGE ? this.height : 1;
        this.panBy(-e.deltaY * lines);
        e.preventDefault();
      }
    }, { passive: false });
  }

  /** Keeps the ladder in sight; a short one stays at the top. */
  private constrain(t: ZoomTransform): ZoomTransform {
    const least = this.height - this.heightAt(t.k) - margin;
    const y = Math.min(margin, Math.max(t.y, Math.min(least, margin)));
    return zoomIdentity.translate(0, y).scale(t.k);
  }

  private heightAt(k: number): number {
    return (this.scene?.length ?? 0) * rowHeight * k;
  }

  private transform(): ZoomTransform {
    return zoomTransform(this.body);
  }

  /** Pixels for a place. */
  private scale(): number {
    return rowHeight * this.transform().k;
  }

  private inSight(): Window {
    const t = this.transform();
    const scale = rowHeight * t.k;
    return { top: -t.y / scale, scale, height: this.height };
  }

  private fitScale(): number {
    return Math.max(1e-9, (this.height - 2 * margin) / Math.max(1, (this.scene?.length ?? 1) * rowHeight));
  }

  /** The zoom to begin with: all of a short ladder, the beginning of a long one at a size that can be read. */
  private startScale(): number {
    const fit = this.fitScale();
    return fit > 1 ? Math.min(fit, this.app.view.scale === 'row' ? 1.6 : 40) : Math.max(fit, Math.min(1, this.app.view.scale === 'row' ? 1 : Math.max(fit, 0.5)));
  }

  /** The most that zooming helps: rows of a hand's height, or nanoseconds that can be told apart. */
  private mostScale(): number {
    if (this.scene === null || this.scene.options.scale !== 'linear') {
      return Math.max(8, this.fitScale());
    }
    let steepest = 0;
    const k = this.scene.places.knots;
    for (let i = 0; i + 1 < k.length; i++) {
      if (k[i + 1]!.at > k[i]!.at && !this.scene.folded[i]) {
        steepest = Math.max(steepest, (k[i + 1]!.place - k[i]!.place) / (k[i + 1]!.at - k[i]!.at));
      }
    }
    // 20 pixels for a nanosecond.
    return steepest > 0 ? Math.max(8, 20 / (steepest * rowHeight)) : 8;
  }

  private moveTo(k: number, y: number): void {
    select<HTMLElement, unknown>(this.body).call(this.zoom.transform, this.constrain(zoomIdentity.translate(0, y).scale(k)));
  }

  private start(): void {
    const { range } = this.app.view;
    if (this.height === 0) {
      return;
    }
    if (range !== null) {
      this.showRange(range);
    } else {
      this.moveTo(this.startScale(), margin);
    }
  }

  private fit(): void {
    this.moveTo(Math.min(this.fitScale(), this.mostScale()), margin);
    this.app.announce('all of the ladder is in sight');
  }

  private zoomBy(factor: number): void {
    const t = this.transform();
    const [low, high] = this.zoom.scaleExtent();
    const k = Math.min(high, Math.max(low, t.k * factor));
    const { scene } = this;
    let y = this.height / 2;
    if (scene !== null && this.active >= 0) {
      const own = scene.marks[this.active]!.from * rowHeight * t.k + t.y;
      if (own >= 0 && own <= this.height) {
        y = own;
      }
    }
    this.moveTo(k, y - ((y - t.y) * k) / t.k);
  }

  private panBy(pixels: number): void {
    const t = this.transform();
    this.moveTo(t.k, t.y + pixels);
  }

  private centre(place: number): void {
    this.moveTo(this.transform().k, this.height / 2 - place * this.scale());
  }

  private showRange(range: readonly [number, number]): void {
    const { scene } = this;
    if (scene === null || this.height === 0) {
      return;
    }
    const [from, to] = [scene.places.of(range[0]), scene.places.of(range[1])];
    const [low, high] = this.zoom.scaleExtent();
    const k = to > from ? Math.min(high, Math.max(low, this.height / ((to - from) * rowHeight))) : this.transform().k;
    this.moveTo(k, -from * rowHeight * k);
  }

  /** Tells others what is in sight, once moving has ended. */
  private tellRange(): void {
    clearTimeout(this.rangeTimer);
    this.rangeTimer = window.setTimeout(() => {
      const { scene } = this;
      if (scene === null || this.height === 0) {
        return;
      }
      const w = this.inSight();
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
    if (scene === null || frame === null || this.height === 0) {
      return;
    }
    const w = this.inSight();
    if (!this.covers(w)) {
      this.paint(scene, frame, w);
    } else if (this.onCanvas) {
      this.paint(scene, frame, w);
    }
    const { drawn } = this;
    if (drawn !== null) {
      const shift = (drawn.top - w.top) * w.scale;
      this.picture.setAttribute('transform', `translate(0,${shift})`);
      this.choice.setAttribute('transform', `translate(0,${shift})`);
      const { selected, pinned, mark } = this.app.view;
      drawSVG(this.choice, drawChoice(scene, frame, drawn, { selected, pinned, mark, active: this.byKeys && this.marks === document.activeElement ? this.active : -1, hovered: this.hovered }));
    }
    this.map.show(w.top, w.top + w.height / w.scale, this.colour);
    this.showErrorBar(scene, w);
  }

  private covers(w: Window): boolean {
    const d = this.drawn;
    return d !== null && d.scale === w.scale && d.top <= w.top && d.top + d.height / d.scale >= w.top + w.height / w.scale;
  }

  private paint(scene: Scene, frame: Frame, w: Window): void {
    this.onCanvas = marksIn(scene, w).length > mostDetailed;
    this.canvas.hidden = !this.onCanvas;
    if (this.onCanvas) {
      this.drawn = w;
      this.picture.replaceChildren();
      const ratio = devicePixelRatio;
      const [width, height] = [Math.round(frame.width * ratio), Math.round(this.height * ratio)];
      if (this.canvas.width !== width || this.canvas.height !== height) {
        this.canvas.width = width;
        this.canvas.height = height;
        this.canvas.style.width = `${frame.width}px`;
        this.canvas.style.height = `${this.height}px`;
      }
      const context = this.canvas.getContext('2d');
      if (context !== null) {
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        context.clearRect(0, 0, frame.width, this.height);
        drawCanvas(context, drawWindow(scene, frame, w, this.times()), this.colour, this.font);
      }
      return;
    }
    // More than is in sight, so that scrolling only moves it.
    const more = 0.6 * w.height;
    let drawn: Window = { top: w.top - more / w.scale, scale: w.scale, height: w.height + 2 * more };
    if (marksIn(scene, drawn).length > mostDetailed) {
      drawn = w;
    }
    this.drawn = drawn;
    drawSVG(this.picture, drawWindow(scene, frame, drawn, this.times()));
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
    const bar = make('span', { class: 'bar' });
    bar.style.height = `${Math.min(Math.max(1, pixels), w.height * 0.6)}px`;
    this.errorBar.replaceChildren(bar, make('span', {}, pixels > w.height * 0.6 ? `${plusMinus(err)}: more than is in sight` : `${plusMinus(err)} between hosts`));
  }

  private bindPointer(): void {
    const at = (e: PointerEvent | MouseEvent): [number, number] => {
      const box = this.body.getBoundingClientRect();
      return [e.clientX - box.left, e.clientY - box.top];
    };
    this.body.addEventListener('pointermove', (e) => {
      const [x, y] = at(e);
      if (e.target instanceof Node && (this.map.canvas.contains(e.target) || e.buttons !== 0)) {
        this.hideTip(true);
        return;
      }
      this.hover(x, y);
    });
    this.body.addEventListener('pointerleave', () => this.hideTip(true));
    this.body.addEventListener('click', (e) => {
      if (e.defaultPrevented || (e.target instanceof Node && this.map.canvas.contains(e.target))) {
        return;
      }
      const [x, y] = at(e);
      const hit = this.hitAt(x, y);
      if (hit < 0) {
        this.app.set({ selected: null, pinned: null });
        return;
      }
      this.activate(hit, false);
      this.enter(this.nearerMoment(hit, x, y));
      this.marks.focus({ preventScroll: true });
    });
  }

  private hitAt(x: number, y: number): number {
    return this.scene === null || this.frame === null ? -1 : hitTest(this.scene, this.frame, this.inSight(), x, y);
  }

  /** Of a mark with two moments the one whose end was pointed at. */
  private nearerMoment(hit: number, x: number, y: number): number | null {
    const { scene, frame } = this;
    const mark = scene?.marks[hit];
    if (scene === null || frame === null || mark === undefined || mark.moments.length === 0) {
      return null;
    }
    const w = this.inSight();
    const distance = (moment: number): number => {
      const m = scene.repetition.moments[moment]!;
      const lane = scene.repetition.layout.lanes.findIndex((l) => l.host === m.host);
      return Math.hypot((mark.kind === 'arrow' ? (frame.lanes[lane]?.x ?? x) - x : 0), ((scene.rows[m.row] ?? 0) - w.top) * w.scale - y);
    };
    if (mark.kind === 'note') {
      return mark.moments.at(-1)!;
    }
    return mark.moments.reduce((best, m) => (distance(m) < distance(best) ? m : best));
  }

  private hover(x: number, y: number): void {
    const { scene } = this;
    if (scene === null) {
      return;
    }
    const w = this.inSight();
    this.crosshair.hidden = false;
    this.crosshair.style.transform = `translateY(${y}px)`;
    const time = scene.places.at(w.top + y / w.scale);
    this.crosshair.dataset['time'] = this.app.view.scale === 'linear' ? span(time - (this.times().origin?.at ?? 0)) : '';
    const hit = this.hitAt(x, y);
    if (hit !== this.hovered) {
      this.hovered = hit;
      this.schedule();
      this.tip.hidden = hit < 0;
      this.body.classList.toggle('pointing', hit >= 0);
      if (hit >= 0) {
        this.fillTip(scene, scene.marks[hit]!);
      }
    }
    if (hit >= 0) {
      const wide = this.tip.offsetWidth;
      const tall = this.tip.offsetHeight;
      const left = x + 18 + wide > this.width ? x - wide - 14 : x + 18;
      const top = y + 16 + tall > this.height ? y - tall - 10 : y + 16;
      this.tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
    }
  }

  private fillTip(scene: Scene, mark: Mark): void {
    const r = scene.repetition;
    const [first, ...rest] = markWords(mark, scene).split('; ');
    const facts = make('dl', { class: 'facts' });
    for (const m of mark.moments.slice(0, 2)) {
      const moment = r.moments[m]!;
      const host = this.app.run.hosts[moment.host]?.name ?? '?';
      const what = mark.moments.length < 2 ? '' : moment.edge === 'at' ? (r.layout.arrows[mark.ref]?.left === m ? ' leaves' : ' arrives') : ` ${moment.edge}s`;
      facts.append(make('dt', {}, `${host}${what}`), make('dd', {}, timeWords(r, m)), make('dt', {}, 'own clock'), make('dd', {}, ownTime(r, m)));
    }
    this.tip.replaceChildren(make('strong', {}, first ?? ''), ...rest.filter((t) => !/^(leaves|arrives|begins) at/.test(t)).map((t) => make('div', {}, t)), facts,
      ...this.tipFacts(mark));
  }

  /** What the event itself says is added when its block is there. */
  private tipFacts(mark: Mark): HTMLElement[] {
    const r = this.app.repetition;
    const moment = mark.kind === 'note' ? undefined : mark.moments.at(-1);
    if (r === null || moment === undefined) {
      return [];
    }
    const list = make('dl', { class: 'facts' });
    const hovered = this.hovered;
    this.app.events().then((events) => {
      if (hovered === this.hovered) {
        for (const [name, value] of eventFacts(events[r.moments[moment]!.event])) {
          list.append(make('dt', {}, name), make('dd', {}, value));
        }
      }
    }, (error: unknown) => {
      if (hovered === this.hovered) {
        list.append(make('dt', {}, 'event'), make('dd', {}, error instanceof Error ? error.message : String(error)));
      }
    });
    return [list];
  }

  private hideTip(gone: boolean): void {
    this.tip.hidden = true;
    this.crosshair.hidden = gone;
    this.body.classList.remove('pointing');
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
    add(['ArrowDown', 'j'], 'next mark', () => this.step(1));
    add(['ArrowUp', 'k'], 'previous mark', () => this.step(-1));
    add(['ArrowRight'], 'along the arrow or the call to its other end', () => this.across(1));
    add(['ArrowLeft'], 'back to its beginning', () => this.across(-1));
    add(['Enter', ' '], 'pin what is selected and show all that is known of it; open or close a fold', () => this.enter(this.app.view.selected));
    add(['Home', 'g'], 'first mark', () => this.step(-Infinity));
    add(['End', 'G'], 'last mark', () => this.step(Infinity));
    add(['w', 'Ctrl+ArrowUp'], 'move up', () => this.panBy(this.height * 0.2));
    add(['s', 'Ctrl+ArrowDown'], 'move down', () => this.panBy(-this.height * 0.2));
    add(['PageUp'], 'a page up', () => this.panBy(this.height * 0.9));
    add(['PageDown'], 'a page down', () => this.panBy(-this.height * 0.9));
    add(['+', '=', 'd'], 'zoom in', () => this.zoomBy(1.6));
    add(['-', 'a'], 'zoom out', () => this.zoomBy(1 / 1.6));
    add(['0'], 'show all', () => this.fit());
    add(['l'], 'next scale: row, linear, log', () => this.nextScale());
    add(['u'], "times of the lab's clock, or each host's own, raw", () => this.app.set({ times: this.app.view.times === 'raw' ? 'lab' : 'raw' }));
    for (const [key, layer, text] of [['1', 'calls', 'calls'], ['2', 'packets', 'packets'], ['3', 'states', 'states'], ['4', 'notes', 'notes'], ['5', 'lab', 'steps of the lab']] as const) {
      add([key], `show or hide ${text}`, () => this.toggleLayer(layer));
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
    return this.app.view.form === 'picture' && this.height > 0;
  }

  private nextScale(): void {
    const scales: readonly ScaleName[] = ['row', 'linear', 'log'];
    const scale = scales[(scales.indexOf(this.app.view.scale) + 1) % scales.length]!;
    this.app.set({ scale });
    this.app.announce(`scale: ${scale}`);
  }

  private step(by: number): void {
    const { scene } = this;
    if (scene === null || scene.order.length === 0) {
      return;
    }
    const at = scene.order.indexOf(this.active);
    const next = at < 0 ? (by > 0 && by !== Infinity ? this.firstInSight() : by === Infinity ? scene.order.length - 1 : 0) : Math.min(scene.order.length - 1, Math.max(0, at + by));
    if (document.activeElement === document.body) {
      this.marks.focus({ preventScroll: true });
    }
    this.activate(scene.order[next]!, true);
  }

  private firstInSight(): number {
    const { scene } = this;
    const top = this.inSight().top;
    const at = scene?.order.findIndex((i) => scene.marks[i]!.from >= top) ?? 0;
    return Math.max(0, at);
  }

  /** Selects the other moment of the active mark. */
  private across(way: 1 | -1): void {
    const mark = this.scene?.marks[this.active];
    if (mark === undefined || mark.moments.length === 0) {
      return;
    }
    const moment = way > 0 ? mark.moments.at(-1)! : mark.moments[0]!;
    this.app.set({ selected: moment });
    this.app.announce(this.app.repetition?.moments[moment]?.text ?? '');
  }

  private focusFirst(): void {
    if (this.active < 0) {
      this.step(1);
    }
    this.schedule();
  }

  /** Makes a mark the active one: it is selected, brought into sight and told of. */
  private activate(index: number, reveal: boolean): void {
    const { scene } = this;
    if (scene === null) {
      return;
    }
    this.active = index;
    const mark = scene.marks[index]!;
    const moment = mark.kind === 'note' ? mark.moments.at(-1) : mark.moments[0];
    if (moment !== undefined && !mark.moments.includes(this.app.view.selected ?? -1)) {
      this.app.set({ selected: moment });
    }
    if (reveal) {
      this.reveal(mark);
    }
    this.speak();
    this.schedule();
  }

  /** Brings a mark into sight with as little movement as that needs. */
  private reveal(mark: Mark): void {
    const w = this.inSight();
    const [y0, y1] = [(mark.from - w.top) * w.scale, (mark.to - w.top) * w.scale];
    const edge = Math.min(60, w.height / 5);
    if (y0 < edge) {
      this.panBy(edge - y0);
    } else if (Math.min(y1, y0 + w.height - 2 * edge) > w.height - edge) {
      this.panBy(w.height - edge - Math.min(y1, y0 + w.height - 2 * edge));
    }
  }

  private enter(moment: number | null): boolean | void {
    const mark = this.scene?.marks[this.active];
    if (mark?.kind === 'fold') {
      this.toggleFold(mark.ref);
      return;
    }
    if (moment === null) {
      return false;
    }
    this.app.set({ selected: moment, pinned: moment });
  }

  private toggleFold(knot: number): void {
    const opened = !this.open.has(knot);
    if (opened) {
      this.open.add(knot);
    } else {
      this.open.delete(knot);
    }
    const { scene } = this;
    const y = scene === null ? 0 : (scene.places.knots[knot]!.place - this.inSight().top) * this.scale();
    this.remake(false);
    if (this.scene !== null) {
      const t = this.transform();
      this.moveTo(t.k, y - this.scene.places.knots[knot]!.place * rowHeight * t.k);
    }
    this.app.announce(opened ? 'the quiet time is open' : 'the quiet time is folded');
  }

  private followSelection(reveal: boolean): void {
    const { scene } = this;
    const { selected } = this.app.view;
    if (scene === null || selected === null) {
      return;
    }
    const own = scene.ofMoment.get(selected) ?? [];
    if (own.includes(this.active)) {
      return;
    }
    const mark = own.map((i) => scene.marks[i]!).find((m) => m.kind !== 'note') ?? scene.marks[own[0] ?? -1];
    if (mark !== undefined) {
      this.active = mark.index;
      if (reveal && this.height > 0) {
        this.reveal(mark);
      }
      this.speak();
    }
  }

  /** Tells screen readers of the active mark and its neighbours, in the order of keys. */
  private speak(): void {
    const { scene } = this;
    if (scene === null || this.active < 0) {
      return;
    }
    const at = scene.order.indexOf(this.active);
    const from = Math.max(0, at - spoken);
    const items = scene.order.slice(from, at + spoken + 1).map((i, k) => make('li', {
      role: 'option', id: `mark-${i}`, 'aria-selected': String(i === this.active), 'aria-posinset': from + k + 1, 'aria-setsize': scene.order.length,
    }, markWords(scene.marks[i]!, scene)));
    this.marks.replaceChildren(...items);
    this.marks.setAttribute('aria-activedescendant', `mark-${this.active}`);
  }
}
