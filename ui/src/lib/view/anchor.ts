// Keeps what is being read where it is while rows come and go above it, in every engine: those that have scroll
// anchoring of their own do it differently. Not here: when (Timeline.svelte).

export type Anchor = { element: HTMLElement; offset: number } | { bottom: true };

const NEAR_BOTTOM = 40;

export function atBottom(box: HTMLElement): boolean {
  return box.scrollHeight - box.scrollTop - box.clientHeight <= NEAR_BOTTOM;
}

/** Index of the first row whose end is below a line; the number of rows where there is none. */
function firstBelow(list: HTMLElement, line: number): number {
  const rows = list.children;
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((rows[middle] as HTMLElement).getBoundingClientRect().bottom <= line) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The last message that ends above a line. */
export function lastAbove(list: HTMLElement, line: number): HTMLElement | null {
  for (let at = firstBelow(list, line) - 1; at >= 0; at -= 1) {
    const row = list.children[at] as HTMLElement;
    if (row.dataset.message !== undefined) return row;
  }
  return null;
}

/** The row in the middle of what is in sight and how far it is from the top: what comes above it moves only what is above,
 * what comes below only what is below. Or the bottom, where that is in sight and stays so. */
export function take(box: HTMLElement, list: HTMLElement, stick: boolean): Anchor | null {
  if (stick) return { bottom: true };
  const rows = list.children;
  const top = box.getBoundingClientRect().top;
  // A divider may be drawn anew; a message is kept.
  for (let at = firstBelow(list, top + box.clientHeight / 2); at < rows.length; at += 1) {
    const element = rows[at] as HTMLElement;
    if (element.dataset.message !== undefined) return { element, offset: element.getBoundingClientRect().top - top };
  }
  return null;
}

/** Puts the row back to where it was. */
export function restore(box: HTMLElement, anchor: Anchor | null): void {
  if (anchor === null) return;
  if ("bottom" in anchor) {
    box.scrollTop = box.scrollHeight;
  } else if (anchor.element.isConnected) {
    box.scrollTop += anchor.element.getBoundingClientRect().top - box.getBoundingClientRect().top - anchor.offset;
  }
}
