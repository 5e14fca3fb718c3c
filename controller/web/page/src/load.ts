/** Unpacks the blocks of the page: base64 of gzip of JSON, each in an element of its own. */
import type { Source } from './app';
import { visibleValue } from './visible';
import { blockId, type Events, type PackedPage, type PackedRepetition, type Page, readPage, readRepetition, type Repetition } from './data';

/** How many unpacked blocks are kept; the one that was asked for longest ago goes first. */
const keep = 8;

/** Unpacks block 0 of the document. */
export async function loadPage(doc: Document): Promise<Page> {
  const { value, json } = await unpackBlock(doc, 0);
  const packed = value as PackedPage;
  const page = readPage(visibleValue(packed, json));
  // A command calls the run by what it is called, whatever is in that.
  page.runs.forEach((r, i) => {
    r.name = packed.runs[i]!.name;
  });
  return page;
}

/** The blocks of a document, unpacked when somebody asks. */
export class Blocks implements Source {
  private readonly doc: Document;
  private readonly page: Page;
  private readonly blocks = new Map<number, Promise<unknown[]>>();
  private readonly repetitions = new WeakMap<object, Repetition>();

  constructor(doc: Document, page: Page) {
    this.doc = doc;
    this.page = page;
  }

  async repetition(run: number, n: number): Promise<Repetition> {
    const o = this.overview(run, n);
    const packed = await this.element<PackedRepetition>(o.block, o.index, visibleValue);
    let repetition = this.repetitions.get(packed);
    if (repetition === undefined) {
      repetition = readRepetition(packed);
      this.repetitions.set(packed, repetition);
    }
    return repetition;
  }

  async events(run: number, n: number): Promise<Events> {
    const o = this.overview(run, n);
    // As recorded: whoever shows them makes them visible.
    return this.element<Events>(o.eventBlock, o.eventIndex, (value) => value);
  }

  private overview(run: number, n: number) {
    const o = this.page.runs[run]?.repetitions.find((r) => r.n === n);
    if (o === undefined) {
      throw new Error(`the page has no repetition ${n} of run ${run + 1}`);
    }
    return o;
  }

  /** An element of a block, of which all is shown by the same function. */
  private async element<T extends object>(block: number, index: number, shown: (value: unknown, json: string) => unknown): Promise<T> {
    let list = this.blocks.get(block);
    if (list === undefined) {
      list = unpackBlock(this.doc, block).then(({ value, json }) => {
        if (!Array.isArray(value)) {
          throw new Error(`block ${block} of the page is no list`);
        }
        return shown(value, json) as unknown[];
      });
    }
    // What was asked for last is last.
    this.blocks.delete(block);
    this.blocks.set(block, list);
    for (const old of this.blocks.keys()) {
      if (this.blocks.size <= keep) {
        break;
      }
      this.blocks.delete(old);
    }
    const element: unknown = (await list)[index];
    if (typeof element !== 'object' || element === null) {
      throw new Error(`block ${block} of the page has no element ${index}`);
    }
    return element as T;
  }
}

/** A block's value, and the text of JSON that it was made of. */
async function unpackBlock(doc: Document, n: number): Promise<{ value: unknown; json: string }> {
  const element = doc.getElementById(blockId(n));
  if (element === null) {
    throw new Error(`the page has no block ${n}: the file is not whole, or was changed; write it again`);
  }
  try {
    const bytes = decode(element.textContent ?? '');
    const json = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
    return { value: JSON.parse(json), json };
  } catch (error) {
    throw new Error(`block ${n} of the page cannot be unpacked: the file is not whole, or was changed; write it again`, { cause: error });
  }
}

function decode(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    bytes[i] = text.charCodeAt(i);
  }
  return bytes;
}
