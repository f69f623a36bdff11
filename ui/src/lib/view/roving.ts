// One tab stop for a list of many: arrow keys move among the elements that carry `data-stop`. Not here: what the
// elements do.

/** Moves the focus for an arrow key, Home or End; tells whether it did. */
export function rove(event: KeyboardEvent, list: HTMLElement): boolean {
  const stops = [...list.querySelectorAll<HTMLElement>("[data-stop]")];
  const at = stops.indexOf(document.activeElement as HTMLElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: stops.length - 1 }[event.key];
  // Keys inside of a stop (a button of a message) belong to that.
  if (to === undefined || at === -1) return false;
  event.preventDefault();
  const stop = stops[Math.max(0, Math.min(stops.length - 1, to))];
  for (const other of stops) other.tabIndex = other === stop ? 0 : -1;
  stop?.focus();
  stop?.scrollIntoView({ block: "nearest" });
  return true;
}
