// Keeps what is being read where it is while rows come and go above it, in every engine: those that have scroll
// anchoring of their own do it differently. Not here: when (Timeline.svelte).

export type Anchor = { element: HTMLElement; offset: number } | { bottom: true };

const NEAR_BOTTOM = 40;

export function atBottom(box: HTMLElement): boolean {
  return box.scrollHeight - box.scrollTop - box.clientHeight <= NEAR_BOTTOM;
}

/** The row in the middle of what is in sight and how far it is from the top: what comes above it moves only what is above,
 * what comes below only what is below. Or the bottom, where that is in sight and stays so. */
export function take(box: HTMLElement, list: HTMLElement, stick: boolean): Anchor | null {
  if (stick) return { bottom: true };
  const rows = list.children;
  const top = box.getBoundingClientRect().top;
  const middleOfBox = top + box.clientHeight / 2;
  let low = 0;
  let high = rows.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((rows[middle] as HTMLElement).getBoundingClientRect().bottom <= middleOfBox) low = middle + 1;
    else high = middle;
  }
  // A divider may be drawn anew; a message is kept.
  for (let at = low; at < rows.length; at += 1) {
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
