// Where a link in a message leads: one of ours is opened here, every other by the browser.

let join: ((link: string) => void) | null = null;

/** Says what a `tombolo:` link does. */
export function onJoin(run: (link: string) => void): void {
  join = run;
}

/** For the click on any link of a message. */
export function openLink(event: MouseEvent): void {
  const href = (event.currentTarget as HTMLAnchorElement).getAttribute("href") ?? "";
  if (!href.startsWith("tombolo:") || join === null) return;
  event.preventDefault();
  join(href);
}
