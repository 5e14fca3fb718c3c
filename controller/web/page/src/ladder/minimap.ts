/** The whole ladder at a glance, and which part of it is seen. */
import { drawCanvas } from './canvas';
import type { Frame } from './frame';
import type { Scene } from './scene';
import { drawWindow } from './picture';
import type { Colour } from './svg';

export const minimapWidth = 56;

/** Lanes close to each other, with room for bands and bars only. */
function smallFrame(scene: Scene): Frame {
  const n = scene.repetition.layout.lanes.length;
  const [left, right] = [10, minimapWidth - 10];
  return {
    width: minimapWidth, character: 1, time: -8, note: -20,
    lanes: scene.repetition.layout.lanes.map((_, i) => ({
      x: n > 1 ? left + ((right - left) * i) / (n - 1) : minimapWidth / 2, side: i === 0 ? -1 : 1,
      callText: 20, callTextWidth: 0, bands: 20, stateText: 20, stateTextWidth: 0, end: 8,
    })),
  };
}

export class Minimap {
  readonly canvas = document.createElement('canvas');
  private readonly whole = document.createElement('canvas');
  private scene: Scene | null = null;
  private height = 0;
  private ratio = 1;

  constructor(move: (place: number) => void) {
    this.canvas.className = 'minimap';
    this.canvas.setAttribute('aria-hidden', 'true');
    const go = (e: PointerEvent): void => {
      if (this.scene !== null && this.height > 0) {
        const box = this.canvas.getBoundingClientRect();
        move(((e.clientY - box.top) / box.height) * Math.max(this.scene.length, 1));
      }
    };
    this.canvas.addEventListener('pointerdown', (e) => {
      this.canvas.setPointerCapture(e.pointerId);
      go(e);
    });
    this.canvas.addEventListener('pointermove', (e) => {
      if (this.canvas.hasPointerCapture(e.pointerId)) {
        go(e);
      }
    });
  }

  /** Shows nothing until drawWhole is called: what was drawn is of another view. */
  forget(): void {
    this.scene = null;
    this.canvas.getContext('2d')?.reset();
  }

  /** Draws the whole ladder; done once for a scene, a height and a theme. */
  drawWhole(scene: Scene, height: number, colour: Colour, font: string): void {
    this.scene = scene;
    this.height = height;
    this.ratio = devicePixelRatio;
    for (const c of [this.canvas, this.whole]) {
      c.width = Math.round(minimapWidth * this.ratio);
      c.height = Math.round(Math.max(1, height) * this.ratio);
    }
    const context = this.whole.getContext('2d');
    if (context === null || height <= 0) {
      return;
    }
    context.scale(this.ratio, this.ratio);
    const w = { top: 0, scale: (height - 4) / Math.max(scene.length, 1), height };
    context.translate(0, 2);
    drawCanvas(context, drawWindow(scene, smallFrame(scene), w, { raw: false, origin: null }, true), colour, font);
  }

  /** Shows which part is seen, by places. */
  show(top: number, bottom: number, colour: Colour): void {
    const context = this.canvas.getContext('2d');
    if (context === null || this.scene === null) {
      return;
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.whole, 0, 0);
    context.scale(this.ratio, this.ratio);
    const scale = (this.height - 4) / Math.max(this.scene.length, 1);
    const y0 = Math.max(0, top * scale + 1);
    const y1 = Math.min(this.height, bottom * scale + 3);
    context.fillStyle = colour('view');
    context.globalAlpha = 0.5;
    context.fillRect(0, 0, minimapWidth, y0);
    context.fillRect(0, y1, minimapWidth, this.height - y1);
    context.globalAlpha = 1;
    context.strokeStyle = colour('select');
    context.lineWidth = 1.5;
    context.strokeRect(0.75, y0, minimapWidth - 1.5, Math.max(4, y1 - y0));
  }
}
