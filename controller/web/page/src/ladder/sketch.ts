/**
 * A picture on its way: shapes in pixels, as SVG and canvas both draw them, texts only where
 * there is room for them.
 */
import type { Moment, Repetition } from '../data';
import type { Frame } from './frame';
import { unit, type Window } from './geometry';
import { Placed } from './pack';
import type { Scene } from './scene';
import { styleOf } from './style';

export interface Line { t: 'line'; points: number[]; style: string; dim: boolean }
export interface Poly { t: 'poly'; points: number[]; style: string; dim: boolean }
export interface Rect { t: 'rect'; x: number; y: number; w: number; h: number; style: string; dim: boolean }
export interface Circle { t: 'circle'; x: number; y: number; r: number; style: string; dim: boolean }
export interface Text { t: 'text'; x: number; y: number; text: string; anchor: 'start' | 'middle' | 'end'; style: string; dim: boolean }
export type Shape = Line | Poly | Rect | Circle | Text;

/** How times are shown. */
export interface Times {
  raw: boolean;
  /** The moment that counts as 0; null for the timeline's own zero. */
  origin: Moment | null;
}

export class Sketch {
  readonly s: Scene;
  readonly f: Frame;
  readonly w: Window;
  readonly times: Times;
  /** Too many for texts and heads. */
  readonly dense: boolean;
  /** So many that lines are pale, for those that lie on each other to be darker. */
  readonly pale: boolean;
  readonly r: Repetition;
  readonly shapes: Shape[] = [];
  readonly texts: Shape[] = [];
  private readonly placed = new Placed();
  /** What a dense picture has drawn already. */
  private readonly seen = new Set<number>();
  dim = false;

  constructor(scene: Scene, frame: Frame, w: Window, times: Times, dense: boolean, pale = dense) {
    this.s = scene;
    this.f = frame;
    this.w = w;
    this.times = times;
    this.dense = dense;
    this.pale = pale;
    this.r = scene.repetition;
  }

  finish(): Shape[] {
    return [...this.shapes, ...this.texts];
  }

  y(place: number): number {
    return (place - this.w.top) * this.w.scale;
  }

  /** Reports whether any of the points is near the window. Browsers draw with 32 bits. */
  near(points: readonly number[]): boolean {
    let [low, high] = [Infinity, -Infinity];
    for (let i = 1; i < points.length; i += 2) {
      low = Math.min(low, points[i]!);
      high = Math.max(high, points[i]!);
    }
    return high >= -100 && low <= this.w.height + 100;
  }

  line(points: number[], style: string): void {
    if (!this.near(points)) {
      return;
    }
    this.shapes.push({ t: 'line', points, style, dim: this.dim });
  }

  poly(points: number[], style: string): void {
    if (!this.near(points)) {
      return;
    }
    this.shapes.push({ t: 'poly', points, style, dim: this.dim });
  }

  rect(x: number, y: number, w: number, h: number, style: string): void {
    // What is far outside is cut.
    const top = Math.max(y, -50);
    const bottom = Math.min(y + h, this.w.height + 50);
    if (bottom >= top) {
      this.shapes.push({ t: 'rect', x, y: top, w, h: bottom - top, style, dim: this.dim });
    }
  }

  circle(x: number, y: number, r: number, style: string): void {
    if (!this.near([x, y])) {
      return;
    }
    this.shapes.push({ t: 'circle', x, y, r, style, dim: this.dim });
  }

  characters(pixels: number, style: string): number {
    return Math.floor(pixels / this.characterOf(style));
  }

  characterOf(style: string): number {
    return (this.f.character * (styleOf(style).size ?? 12)) / 12;
  }

  /** Puts a text where there is room for it, and reports whether there was. */
  text(x: number, y: number, text: string, anchor: Text['anchor'], style: string): boolean {
    if (text === '' || y < -20 || y > this.w.height + 20) {
      return false;
    }
    const size = styleOf(style).size ?? 12;
    const width = text.length * this.characterOf(style);
    const left = anchor === 'start' ? x : anchor === 'end' ? x - width : x - width / 2;
    if (!this.placed.take({ x: left - 2, y: y - size * 0.82, w: width + 4, h: size * 1.02 })) {
      return false;
    }
    this.texts.push({ t: 'text', x, y, text, anchor, style, dim: this.dim });
    return true;
  }

  /**
   * Reports whether a dense picture has this very thing already: of the same sort, at the
   * same pixels.
   */
  again(sort: number, x: number, y0: number, y1: number): boolean {
    if (!this.dense) {
      return false;
    }
    // 12 bits for each height in pairs of pixels, some beyond the window included, 13 for x.
    const high = (v: number): number => Math.min(4095, Math.max(0, Math.round(v / 2) + 64));
    const key = ((sort * 8192 + Math.round(x)) * 4096 + high(y0)) * 4096 + high(y1);
    if (this.seen.has(key)) {
      return true;
    }
    this.seen.add(key);
    return false;
  }

  head(x0: number, y0: number, x1: number, y1: number, style: string): void {
    const [ux, uy] = unit(x0, y0, x1, y1);
    this.poly([x1, y1, x1 - ux * 10 + uy * 4.5, y1 - uy * 10 - ux * 4.5, x1 - ux * 10 - uy * 4.5, y1 - uy * 10 + ux * 4.5], style);
  }
}
