/** The keyboard of the page: who answers which key, and the list of all for the help. */

/** One thing that keys do. */
export interface Binding {
  /**
   * Keys that do it: a KeyboardEvent.key as it is ("j", "T", "ArrowUp", "+"), with "Ctrl+"
   * before it where that is held. Capitals mean Shift.
   */
  keys: readonly string[];
  /** What it does, for the help: "show the table instead of the picture". */
  does: string;
  /** The heading in the help that it stands under. */
  group: string;
  /** Does it. One that returns false leaves the key to others. */
  run: (event: KeyboardEvent) => boolean | void;
}

export class Keys {
  private readonly bindings: Binding[] = [];

  /** Adds a binding. A key that is taken is a mistake of the page, and throws. */
  add(binding: Binding): void {
    for (const key of binding.keys) {
      const other = this.bindings.find((b) => b.keys.includes(key));
      if (other !== undefined) {
        throw new Error(`key ${key} is taken by "${other.does}"; "${binding.does}" cannot have it`);
      }
    }
    this.bindings.push(binding);
  }

  /** All bindings in the order in which they were added. */
  all(): readonly Binding[] {
    return this.bindings;
  }

  /** Answers a key, unless it is typed into a field, and tells whether anything did. */
  handle(event: KeyboardEvent): boolean {
    if (event.defaultPrevented || event.altKey || event.metaKey || isTyping(event)) {
      return false;
    }
    const name = keyName(event);
    for (const binding of this.bindings) {
      if (binding.keys.includes(name) && binding.run(event) !== false) {
        event.preventDefault();
        return true;
      }
    }
    return false;
  }
}

/** A key as bindings write it. */
export function keyName(event: Pick<KeyboardEvent, 'key' | 'ctrlKey'>): string {
  return (event.ctrlKey ? 'Ctrl+' : '') + event.key;
}

/** Reports whether a key is meant for a field, or for a control that has the key itself. */
function isTyping(event: KeyboardEvent): boolean {
  const target = event.target;
  if (!(target instanceof HTMLElement)) {
    return false;
  }
  if (target.isContentEditable || target.matches('textarea, select, [role=combobox]')) {
    return event.key !== 'Escape';
  }
  if (target instanceof HTMLInputElement) {
    const text = !['checkbox', 'radio', 'button', 'range'].includes(target.type);
    return text ? event.key !== 'Escape' : event.key.startsWith('Arrow') || event.key === ' ';
  }
  return target.matches('button, a[href], summary, [role=tab]') && (event.key === 'Enter' || event.key === ' ');
}
