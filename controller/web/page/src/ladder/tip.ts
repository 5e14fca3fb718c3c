/** What is told beside the pointer of the mark that it is on. */
import type { App } from '../app';
import { make } from '../elements';
import { eventFacts } from '../event_facts';
import { Latest } from '../latest';
import type { Mark, Scene } from './scene';
import { markWords, ownTime, timeWords } from './words';

export class Tip {
  readonly el = make('div', { class: 'tip', hidden: true });
  private readonly app: App;
  private readonly latest = new Latest();

  constructor(app: App) {
    this.app = app;
  }

  hide(): void {
    this.latest.ask();
    this.el.hidden = true;
  }

  /** Tells of a mark. What its event says is added when the block that has it is unpacked. */
  show(scene: Scene, mark: Mark): void {
    const r = scene.repetition;
    const [first, ...rest] = markWords(mark, scene).split('; ');
    const facts = make('dl', { class: 'facts' });
    for (const m of mark.moments.slice(0, 2)) {
      const moment = r.moments[m]!;
      const host = this.app.run.hosts[moment.host]?.name ?? '?';
      const what = mark.moments.length < 2 || mark.kind === 'note' ? '' : moment.edge !== 'at' ? ` ${moment.edge}s` : r.layout.arrows[mark.ref]?.left === m ? ' leaves' : ' arrives';
      facts.append(make('dt', {}, `${host}${what}`), make('dd', {}, timeWords(r, m)), make('dt', {}, 'own clock'), make('dd', {}, ownTime(r, m)));
    }
    this.el.hidden = false;
    this.el.replaceChildren(
      make('strong', {}, first ?? ''),
      // The facts have the times.
      ...rest.filter((t) => !/^(leaves|arrives|begins) at/.test(t)).map((t) => make('div', {}, t)), facts);
    const moment = mark.kind === 'note' ? undefined : mark.moments.at(-1);
    if (moment !== undefined) {
      void this.addEvent(facts, r.moments[moment]!.event);
    }
  }

  /** Puts it beside the pointer, inside a box of a size. */
  move(x: number, y: number, width: number, height: number): void {
    const [wide, tall] = [this.el.offsetWidth, this.el.offsetHeight];
    const left = x + 18 + wide > width ? x - wide - 14 : x + 18;
    const top = y + 16 + tall > height ? y - tall - 10 : y + 16;
    this.el.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
  }

  private async addEvent(facts: HTMLElement, event: number): Promise<void> {
    const wanted = this.latest.ask();
    let more: [string, string][];
    try {
      more = eventFacts((await this.app.events())[event]);
    } catch (error) {
      more = [['event', error instanceof Error ? error.message : String(error)]];
    }
    if (wanted()) {
      for (const [name, value] of more) {
        facts.append(make('dt', {}, name), make('dd', {}, value));
      }
    }
  }
}
