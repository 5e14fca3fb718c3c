/**
 * Which part of the ladder is in sight. It is one transform: the zoom of d3, of which only the
 * height counts.
 */
import { select } from 'd3-selection';
import { type D3ZoomEvent, zoom as makeZoom, type ZoomBehavior, zoomIdentity, type ZoomTransform, zoomTransform } from 'd3-zoom';
import { rowHeight } from './frame';
import type { Window } from './geometry';
import type { Scene } from './scene';

/** Room above the first row and below the last, in pixels. */
export const margin = 14;

/** What is told of movement. */
export interface SightListener {
  /** Moved; byHand if a pointer or the wheel did it. */
  moved(byHand: boolean): void;
  /** It has come to rest. */
  rested(): void;
}

export class Sight {
  scene: Scene | null = null;
  /** The size of what can be seen, in pixels. */
  width = 0;
  height = 0;
  private readonly el: HTMLElement;
  private readonly zoom: ZoomBehavior<HTMLElement, unknown>;

  constructor(el: HTMLElement, listener: SightListener) {
    this.el = el;
    this.zoom = makeZoom<HTMLElement, unknown>()
      .filter((event: Event) => event instanceof WheelEvent ? event.ctrlKey : !(event instanceof MouseEvent && (event.button !== 0 || event.type === 'dblclick')))
      .clickDistance(4)
      .extent(() => [[0, 0], [Math.max(1, this.width), Math.max(1, this.height)]])
      .constrain((t) => this.constrain(t))
      .on('start', () => el.classList.add('moving'))
      .on('zoom', (event: D3ZoomEvent<HTMLElement, unknown>) => listener.moved(event.sourceEvent instanceof Event))
      .on('end', () => {
        el.classList.remove('moving');
        listener.rested();
      });
    select<HTMLElement, unknown>(el).call(this.zoom).on('dblclick.zoom', null);
    el.addEventListener('wheel', (e) => {
      if (!e.ctrlKey) {
        const lines = e.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : e.deltaMode === WheelEvent.DOM_DELTA_PAGE ? this.height : 1;
        this.panBy(-e.deltaY * lines);
        e.preventDefault();
      }
    }, { passive: false });
  }

  /** Takes another scene or size: how far one may zoom follows from them. */
  refit(): void {
    this.zoom.scaleExtent([Math.min(1, this.fitScale()), this.mostScale()]);
  }

  /** Pixels for a place. */
  scale(): number {
    return rowHeight * this.transform().k;
  }

  window(): Window {
    const t = this.transform();
    const scale = rowHeight * t.k;
    return { top: -t.y / scale, scale, height: this.height };
  }

  /** Where a place is, in pixels from the upper edge. */
  y(place: number): number {
    const w = this.window();
    return (place - w.top) * w.scale;
  }

  fit(): void {
    this.moveTo(Math.min(this.fitScale(), this.mostScale()), margin);
  }

  /** All of a short ladder, the beginning of a long one at a size that can be read. */
  start(): void {
    this.moveTo(this.startScale(), margin);
  }

  startScale(): number {
    const fit = this.fitScale();
    const row = this.scene?.options.scale === 'row';
    if (fit > 1) {
      return Math.min(fit, row ? 1.6 : 40);
    }
    return Math.max(fit, row ? 1 : 0.5);
  }

  /** Zooms about a height, in pixels. */
  zoomBy(factor: number, about: number): void {
    const t = this.transform();
    const [low, high] = this.zoom.scaleExtent();
    const k = Math.min(high, Math.max(low, t.k * factor));
    this.moveTo(k, about - ((about - t.y) * k) / t.k);
  }

  panBy(pixels: number): void {
    const t = this.transform();
    this.moveTo(t.k, t.y + pixels);
  }

  /** Puts a place at a height, with a zoom of its own if one is given. */
  put(place: number, y: number, k = this.transform().k): void {
    this.moveTo(k, y - place * rowHeight * k);
  }

  /** Shows the part between two places. */
  show(from: number, to: number): void {
    const [low, high] = this.zoom.scaleExtent();
    const k = to > from ? Math.min(high, Math.max(low, this.height / ((to - from) * rowHeight))) : this.transform().k;
    this.put(from, 0, k);
  }

  /** Brings what is between two places into sight with as little movement as that needs. */
  reveal(from: number, to: number): void {
    const edge = Math.min(60, this.height / 5);
    const y0 = this.y(from);
    const y1 = Math.min(this.y(to), y0 + this.height - 2 * edge);
    if (y0 < edge) {
      this.panBy(edge - y0);
    } else if (y1 > this.height - edge) {
      this.panBy(this.height - edge - y1);
    }
  }

  private transform(): ZoomTransform {
    return zoomTransform(this.el);
  }

  private moveTo(k: number, y: number): void {
    select<HTMLElement, unknown>(this.el).call(this.zoom.transform, this.constrain(zoomIdentity.translate(0, y).scale(k)));
  }

  /** Keeps the ladder in sight; a short one stays at the top. */
  private constrain(t: ZoomTransform): ZoomTransform {
    const least = this.height - (this.scene?.length ?? 0) * rowHeight * t.k - margin;
    const y = Math.min(margin, Math.max(t.y, Math.min(least, margin)));
    return zoomIdentity.translate(0, y).scale(t.k);
  }

  private fitScale(): number {
    return Math.max(1e-9, (this.height - 2 * margin) / Math.max(1, (this.scene?.length ?? 1) * rowHeight));
  }

  /** The most that zooming helps: rows of a hand's height, or nanoseconds that can be told apart. */
  private mostScale(): number {
    const most = Math.max(8, this.fitScale());
    if (this.scene === null || this.scene.options.scale !== 'linear') {
      return most;
    }
    let steepest = 0;
    const k = this.scene.places.knots;
    for (let i = 0; i + 1 < k.length; i++) {
      if (k[i + 1]!.at > k[i]!.at && !this.scene.folded[i]) {
        steepest = Math.max(steepest, (k[i + 1]!.place - k[i]!.place) / (k[i + 1]!.at - k[i]!.at));
      }
    }
    // 20 pixels for a nanosecond.
    return steepest > 0 ? Math.max(most, 20 / (steepest * rowHeight)) : most;
  }
}
