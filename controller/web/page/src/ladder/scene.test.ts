import { describe, expect, test } from 'vitest';
import { makeFrame } from './frame';
import { distanceTo, hitTest } from './hit';
import { dimBy, makeScene, type SceneOptions } from './scene';
import { drawChoice } from './draw_choice';
import { arrowLine, callBox, marksIn } from './geometry';
import { drawWindow } from './picture';
import { styles } from './style';
import { chance, sample } from './testing';
import { markWords } from './words';

const all: SceneOptions = {
  scale: 'row', connection: 0, layers: { calls: true, packets: true, states: true, notes: true, lab: true }, matches: null, filterMode: 'dim', open: new Set(),
};

const kinds = (o: Partial<SceneOptions>): string[] => makeScene(sample(), { ...all, ...o }).marks.map((m) => m.kind).sort();

describe('makeScene', () => {
  test('has a mark for everything that the layout shows', () => {
    expect(kinds({})).toEqual(['arrow', 'arrow', 'call', 'call', 'fold', 'note', 'span', 'span']);
  });

  test('leaves out what is switched off', () => {
    expect(kinds({ layers: { ...all.layers, calls: false } })).not.toContain('call');
    expect(kinds({ layers: { ...all.layers, lab: false } }).filter((k) => k === 'call')).toHaveLength(1);
    expect(kinds({ layers: { ...all.layers, states: false } })).not.toContain('span');
    expect(kinds({ layers: { ...all.layers, packets: false } })).not.toContain('arrow');
  });

  test('leaves out other connections, and no gap where they were', () => {
    const scene = makeScene(sample(), { ...all, connection: 1 });
    expect(scene.marks.filter((m) => m.kind === 'arrow')).toHaveLength(1);
    expect(scene.marks.filter((m) => m.kind === 'span')).toHaveLength(1);
    expect([...scene.rows].map((p) => (Number.isNaN(p) ? null : p))).toEqual([0, 1, null, 2, 3, null, 5, 6]);
  });

  test('dims what the filter does not name, or hides it', () => {
    const matches = Uint8Array.from([0, 1, 0, 1, 0, 0, 0]);
    const dim = makeScene(sample(), { ...all, matches });
    expect(dim.marks.filter((m) => m.kind === 'arrow').map((m) => m.dim)).toEqual([false, true]);
    const hidden = makeScene(sample(), { ...all, matches, filterMode: 'hide' });
    expect(hidden.marks.filter((m) => m.kind === 'arrow' || m.kind === 'call')).toHaveLength(1);
  });

  test('dimming by another filter makes the scene that the filter makes', () => {
    const next = chance(7);
    for (let i = 0; i < 200; i++) {
      const filter = (): Uint8Array | null => (next() < 0.2 ? null : Uint8Array.from({ length: 7 }, () => (next() < 0.5 ? 1 : 0)));
      const [before, after] = [filter(), filter()];
      const connection = Math.floor(next() * 3);
      const scene = makeScene(sample(), { ...all, connection, matches: before });
      dimBy(scene, after);
      const made = makeScene(sample(), { ...all, connection, matches: after });
      expect(scene.marks).toEqual(made.marks);
      expect(scene.options).toEqual(made.options);
      expect(scene.rows).toEqual(made.rows);
    }
  });

  test('an opened fold moves what is below it, in each scale', () => {
    for (const scale of ['row', 'linear', 'log'] as const) {
      const closed = makeScene(sample(), { ...all, scale });
      const open = makeScene(sample(), { ...all, scale, open: new Set([4]) });
      expect(open.rows[4]).toBe(closed.rows[4]);
      expect(open.rows[6]! - open.rows[4]!).toBeGreaterThan(closed.rows[6]! - closed.rows[4]!);
      expect(open.length).toBeCloseTo(open.rows[7]!, 9);
    }
  });

  test('two connections at one host have bands of their own', () => {
    const scene = makeScene(sample(), all);
    expect(scene.marks.filter((m) => m.kind === 'span').map((m) => m.column).sort()).toEqual([0, 1]);
    expect(scene.bandColumns).toEqual([2, 0]);
  });

  test('an end in its last state leaves its band to another, and nothing overlaps', () => {
    const r = sample();
    r.layout.spans = [];
    for (let c = 1; c <= 40; c++) {
      const first = Math.floor((c - 1) / 6);
      r.layout.spans.push(
        { lane: 0, connection: c, end: 0, name: 'FIN_WAIT1', known: 'packet', doubtful: false, first, last: first + 1, open: false },
        { lane: 0, connection: c, end: 0, name: 'TIME_WAIT', known: 'packet', doubtful: false, first: first + 1, last: 7, open: true },
        { lane: 0, connection: c, end: 1, name: 'CLOSED', known: 'packet', doubtful: false, first, last: 7, open: true },
      );
    }
    const scene = makeScene(r, { ...all, scale: 'log' });
    expect(scene.bandColumns[0]).toBe(5);
    const bands = scene.marks.filter((m) => m.kind === 'span');
    bands.filter((m) => m.column < 4).forEach((a, i, own) => own.slice(i + 1).forEach((b) => {
      expect(a.column === b.column && a.from < b.to && b.from < a.to).toBe(false);
    }));
  });

  test('keys go through all marks from the top to the bottom', () => {
    const scene = makeScene(sample(), all);
    expect([...scene.order].sort((a, b) => a - b)).toEqual(scene.marks.map((m) => m.index));
    const places = scene.order.map((i) => scene.marks[i]!.from);
    expect(places).toEqual([...places].sort((a, b) => a - b));
  });
});

describe('the picture', () => {
  const scene = makeScene(sample(), all);
  const frame = makeFrame(scene, 1000, 7.2);
  const w = { top: -0.5, scale: 20, height: 400 };

  test('lanes are in order and inside', () => {
    for (const width of [420, 640, 1000, 2000]) {
      const f = makeFrame(scene, width, 7.2);
      expect(f.lanes[0]!.x).toBeLessThan(f.lanes[1]!.x);
      expect(f.lanes[0]!.x - f.lanes[0]!.end).toBeGreaterThanOrEqual(f.time - 1);
      expect(f.lanes[1]!.x + f.lanes[1]!.end).toBeLessThanOrEqual(width);
    }
  });

  test('pointing at a mark finds it', () => {
    for (const mark of scene.marks) {
      let [x, y] = [frame.lanes[mark.lane]?.x ?? frame.width / 2, (mark.from - w.top) * w.scale];
      if (mark.kind === 'arrow') {
        const a = arrowLine(scene.repetition.layout.arrows[mark.ref]!, scene, frame, w);
        [x, y] = [(a.x0 * 3 + a.x1) / 4, (a.y0 * 3 + a.y1) / 4];
      } else if (mark.kind === 'call') {
        const b = callBox(mark, frame, w);
        [x, y] = [b.x + b.w / 2, b.y + b.h / 2];
      } else if (mark.kind === 'fold') {
        y = ((mark.from + mark.to) / 2 - w.top) * w.scale;
      } else if (mark.kind === 'note') {
        x = frame.note;
      } else if (mark.kind === 'span') {
        const l = frame.lanes[mark.lane]!;
        [x, y] = [l.x - l.bands - mark.column * 13 - 5, ((mark.from + mark.to) / 2 - w.top) * w.scale];
      }
      expect(distanceTo(mark, scene, frame, w, x, y)).toBeLessThan(1);
      expect(scene.marks[hitTest(scene, frame, w, x, y)]?.kind).toBe(mark.kind);
    }
    expect(hitTest(scene, frame, w, frame.lanes[1]!.x + 150, 390)).toBe(-1);
  });

  test('every shape has a style, and is inside what is drawn', () => {
    for (const bare of [false, true]) {
      for (const scale of [2, 20, 5e4, 1e9]) {
        const window = { top: 1.9, scale, height: 600 };
        for (const shape of drawWindow(scene, frame, window, { raw: false, origin: null }, bare)) {
          expect(styles[shape.style]).toBeDefined();
          const ys = shape.t === 'line' || shape.t === 'poly' ? shape.points.filter((_, i) => i % 2 === 1) : [shape.y];
          for (const y of ys) {
            expect(Math.abs(y)).toBeLessThan(6000);
          }
        }
      }
    }
  });

  test('texts do not lie on each other', () => {
    const texts = drawWindow(scene, frame, w, { raw: false, origin: null }).filter((s) => s.t === 'text' && s.style !== 'noteText');
    expect(texts.length).toBeGreaterThan(8);
    const boxes = texts.map((s) => {
      if (s.t !== 'text') throw new Error('no text');
      const width = s.text.length * 7.2 * ((styles[s.style]!.size ?? 12) / 12);
      const x = s.anchor === 'start' ? s.x : s.anchor === 'end' ? s.x - width : s.x - width / 2;
      return { x, y: s.y - 8, w: width, h: 8 };
    });
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
      expect(a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h).toBe(false);
    }));
  });

  test('says what is lost, and how long a packet was under way', () => {
    const textsOf = (window: typeof w): string[] => drawWindow(scene, frame, window, { raw: false, origin: null }).flatMap((s) => (s.t === 'text' ? [s.text] : []));
    const texts = textsOf(w);
    expect(texts).toContain('lost');
    expect(textsOf({ top: -0.5, scale: 60, height: 600 })).toContain('2 ms ±500 ns');
    expect(texts.some((t) => t.startsWith('⋮ 1 s quiet'))).toBe(true);
  });

  test('a dense picture draws the same pixels once', () => {
    const r = sample();
    const one = r.layout.arrows[0]!;
    for (let i = 0; i < 4000; i++) r.layout.arrows.push(one);
    const dense = makeScene(r, all);
    expect(marksIn(dense, w).length).toBeGreaterThan(3000);
    expect(drawWindow(dense, frame, w, { raw: false, origin: null }).length).toBeLessThan(60);
  });

  test('what is chosen is marked', () => {
    const shapes = drawChoice(scene, frame, w, { selected: 1, pinned: 1, mark: 0, active: 0, hovered: 1 });
    for (const style of ['selectLine', 'pinLine', 'mark', 'select']) {
      expect(shapes.map((s) => s.style)).toContain(style);
    }
  });
});

describe('words', () => {
  test('tell each mark', () => {
    const scene = makeScene(sample(), all);
    const words = scene.marks.map((m) => markWords(m, scene));
    expect(words).toContain('SYN s0 from A to B; leaves at 1 ms; arrives at 3 ms ±500 ns; 2 ms ±500 ns on the way');
    expect(words).toContain('A, client: connect B:1; begins at 0 ns; gave 0 after 4 ms; was blocked, until: SYN+ACK came');
    expect(words).toContain('SYN s0 from A to B; leaves at 2 ms; lost on the way');
    expect(words).toContain('1 s quiet; Enter opens it');
    expect(words).toContain('Note 1: a note');
  });
});
