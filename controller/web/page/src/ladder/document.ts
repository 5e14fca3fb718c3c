/** The ladder as a document of its own, for papers and printers. */
import type { Run } from '../data';
import { say } from '../elements';
import type { Frame } from './frame';
import type { Window } from './geometry';
import { fitText } from './pack';
import { drawWindow } from './picture';
import type { Scene } from './scene';
import type { Times } from './sketch';
import { type Colour, drawSVG } from './svg';

const namespace = 'http://www.w3.org/2000/svg';

/** Room for the names of the lanes above the picture, in pixels. */
const head = 34;

/** How many letters of a host's name and roles stand there. */
const mostHead = 40;

/** Draws a part of the ladder with its lanes' names, a title and a description. */
export function svgDocument(run: Run, scene: Scene, frame: Frame, w: Window, times: Times, colour: Colour, font: string): SVGSVGElement {
  const r = scene.repetition;
  const svg = document.createElementNS(namespace, 'svg');
  const size = `${frame.width} ${w.height + head}`;
  for (const [name, value] of [['xmlns', namespace], ['width', String(frame.width)], ['height', String(w.height + head)], ['viewBox', `0 0 ${size}`], ['font-family', font]] as const) {
    svg.setAttribute(name, value);
  }
  const picture = element('g', { transform: `translate(0,${head})` });
  drawSVG(picture, drawWindow(scene, frame, w, times), colour);
  svg.append(
    element('title', {}, `Ladder of repetition ${r.n} of run ${run.id}, ${run.experiment}`),
    element('desc', {}, r.summary.join(' ')),
    element('rect', { width: '100%', height: '100%', fill: colour('surface') }),
    ...r.layout.lanes.map((l, i) => element('text', {
      x: String(frame.lanes[i]!.x), y: '20', 'text-anchor': 'middle', 'font-size': '13', 'font-weight': '700', fill: colour('text'),
    }, fitText([l.name, ...l.roles].join(' · '), mostHead))),
    picture);
  return svg;
}

function element(name: 'g' | 'rect' | 'text' | 'title' | 'desc', attributes: Readonly<Record<string, string>>, text = ''): SVGElement {
  const el = document.createElementNS(namespace, name);
  for (const [key, value] of Object.entries(attributes)) {
    el.setAttribute(key, value);
  }
  say(el, text);
  return el;
}
