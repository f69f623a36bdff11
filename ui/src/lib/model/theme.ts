// Light or dark, where a person chose it; else the system decides. Not here: colours (styles/tokens.css).

export type Theme = "light" | "dark";

const KEY = "tombolo-theme";

function show(theme: Theme | null): void {
  if (theme === null) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function chooseTheme(theme: Theme | null): void {
  if (theme === null) localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, theme);
  show(theme);
}

/** Shows what was chosen before. */
export function restoreTheme(): void {
  const kept = localStorage.getItem(KEY);
  show(kept === "light" || kept === "dark" ? kept : null);
}
