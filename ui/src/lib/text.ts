// The text of a message as a tree of tokens: a small Markdown, everything else stays text. Every pattern excludes its
// own opening sign from what it spans, so that parsing is linear in hostile texts too. Not here: how tokens look
// (part/Text.svelte).

export type Inline =
  | { kind: "text"; text: string }
  | { kind: "code"; text: string }
  | { kind: "bold" | "italic"; inline: Inline[] }
  | { kind: "link"; href: string; text: string };

export type Block =
  { kind: "paragraph"; inline: Inline[] } | { kind: "quote"; inline: Inline[] } | { kind: "code"; text: string };

/** Characters after which a message is folded. */
export const FOLD = 4_000;

const PROTOCOLS = new Set(["http:", "https:", "mailto:", "tombolo:"]);

// Spaces, quotes and brackets end an address, and so does whatever turns or hides a part of it.
const ADDRESS =
  '(?:https?:\\/\\/|mailto:|tombolo:)[^\\s<>"`\\u0000-\\u001f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2069\\ufeff]+';

const TOKEN = new RegExp(
  [
    "`(?<code>[^`\\n]+)`",
    "\\*\\*(?<strong>[^*\\n]+)\\*\\*",
    "\\*(?<star>[^*\\s](?:[^*\\n]*[^*\\s])?)\\*",
    "(?<![\\p{L}\\p{N}_])_(?<line>[^_\\s](?:[^_\\n]*[^_\\s])?)_(?![\\p{L}\\p{N}_])",
    "\\[(?<label>[^[\\]\\n]+)\\]\\((?<target>[^()\\s[\\]]+)\\)",
    `(?<![\\p{L}\\p{N}])(?<address>${ADDRESS})`,
  ].join("|"),
  "gu",
);

/** The address, if it is one that may be opened. */
export function safeHref(address: string): string | null {
  try {
    return PROTOCOLS.has(new URL(address).protocol) && !/[\u0000-\u0020]/.test(address) ? address : null;
  } catch {
    return null;
  }
}

/** Whether a label looks like an address itself, and so could lie about where it leads. */
function pretends(label: string, href: string): boolean {
  return label !== href && /:\/\/|www\.|[\p{L}\p{N}]\.[\p{L}]{2,}/u.test(label);
}

/** An address ends before the punctuation of the sentence that it stands in. */
function trimmed(address: string): string {
  let end = address.length;
  while (end > 0 && ".,;:!?'*_".includes(address[end - 1] ?? "")) end -= 1;
  const cut = address.slice(0, end);
  return cut.endsWith(")") && !cut.includes("(") ? cut.slice(0, -1) : cut;
}

/** The tokens of one paragraph. */
export function inline(text: string): Inline[] {
  const out: Inline[] = [];
  let plainFrom = 0;
  const plain = (to: number) => {
    if (to > plainFrom) out.push({ kind: "text", text: text.slice(plainFrom, to) });
  };
  const pattern = new RegExp(TOKEN);
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const token = tokenOf(match.groups ?? {});
    if (token === null) {
      // Of a wrong address everything is plain, or a text of many would be read many times. Of anything else only the
      // first sign is plain for certain: what follows may begin something.
      if (match.groups?.address === undefined) pattern.lastIndex = match.index + 1;
      continue;
    }
    plain(match.index);
    out.push(token.node);
    plainFrom = match.index + (token.length ?? match[0].length);
    pattern.lastIndex = plainFrom;
  }
  plain(text.length);
  return out;
}

function tokenOf(groups: Record<string, string | undefined>): { node: Inline; length?: number } | null {
  const { code, strong, star, line, label, target, address } = groups;
  if (code !== undefined) return { node: { kind: "code", text: code } };
  if (strong !== undefined) return { node: { kind: "bold", inline: inline(strong) } };
  const slanted = star ?? line;
  if (slanted !== undefined) return { node: { kind: "italic", inline: inline(slanted) } };
  if (label !== undefined && target !== undefined) {
    const href = safeHref(target);
    return href === null || pretends(label, href) ? null : { node: { kind: "link", href, text: label } };
  }
  const found = trimmed(address ?? "");
  const href = safeHref(found);
  return href === null ? null : { node: { kind: "link", href, text: found }, length: found.length };
}

/** The blocks of a message. */
export function blocks(text: string): Block[] {
  const out: Block[] = [];
  let kind: "paragraph" | "quote" = "paragraph";
  let lines: string[] = [];
  const flush = () => {
    if (lines.some((line) => line.trim() !== ""))
      out.push({ kind, inline: inline(lines.join("\n").replace(/^\n+/, "").trimEnd()) });
    lines = [];
  };
  const all = text.split("\n");
  // A fence before the last one is closed for certain, and no search for its end runs in vain.
  const lastFence = all.findLastIndex((line) => line.startsWith("```"));
  for (let at = 0; at < all.length; at += 1) {
    const line = all[at] ?? "";
    if (line.startsWith("```") && at < lastFence) {
      flush();
      let end = at + 1;
      while (!all[end]?.startsWith("```")) end += 1;
      out.push({ kind: "code", text: all.slice(at + 1, end).join("\n") });
      at = end;
      continue;
    }
    const quoted = /^> ?/.exec(line);
    const now = quoted === null ? "paragraph" : "quote";
    if (now !== kind) flush();
    kind = now;
    lines.push(quoted === null ? line : line.slice(quoted[0].length));
  }
  flush();
  return out;
}

/** The part of a long text that is shown first: whole lines where that is possible, never half a character. */
export function folded(text: string): string {
  if (text.length <= FOLD) return text;
  const cut = text.slice(0, FOLD);
  const line = cut.lastIndexOf("\n");
  return (line > FOLD / 2 ? cut.slice(0, line) : cut).replace(/[\ud800-\udbff]$/, "");
}

// Signs that turn the direction, hide or break a line. Joiners stay: emoji and many scripts need them.
const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A name with everything that could disguise it made visible. */
export function visible(name: string): string {
  return name.replace(HIDDEN, (sign) => `<${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}>`);
}
