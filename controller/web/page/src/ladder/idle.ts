/** Work that can wait until the page has shown what it was asked for. */

/** How long such work waits at most, ms: a page that is never idle gets it all the same. */
const longest = 500;

/** Does work when nothing else is to be done. The function that it returns cancels it. */
export function whenIdle(work: () => void): () => void {
  // Not every browser has it.
  if (typeof requestIdleCallback === 'function') {
    const waits = requestIdleCallback(work, { timeout: longest });
    return () => cancelIdleCallback(waits);
  }
  const waits = setTimeout(work, longest / 10);
  return () => clearTimeout(waits);
}
