// The text renderer against what people write and what attackers write.

import { describe, expect, it } from "vitest";
import { blocks, FOLD, folded, inline, safeHref, visible, type Inline } from "./text";

const links = (nodes: Inline[]): string[] =>
  nodes.flatMap((node) => (node.kind === "link" ? [node.href] : "inline" in node ? links(node.inline) : []));

const linksOf = (text: string): string[] =>
  blocks(text).flatMap((block) => ("inline" in block ? links(block.inline) : []));

/** Everything that is drawn, without its form. */
const words = (nodes: Inline[]): string =>
  nodes.map((node) => ("inline" in node ? words(node.inline) : node.text)).join("");

describe("small Markdown", () => {
  it("knows bold, italic and code", () => {
    expect(inline("a **b _c_** `d*e*` *f*")).toEqual([
      { kind: "text", text: "a " },
      {
        kind: "bold",
        inline: [
          { kind: "text", text: "b " },
          { kind: "italic", inline: [{ kind: "text", text: "c" }] },
        ],
      },
      { kind: "text", text: " " },
      { kind: "code", text: "d*e*" },
      { kind: "text", text: " " },
      { kind: "italic", inline: [{ kind: "text", text: "f" }] },
    ]);
  });

  it("leaves names with underscores, sums and lone signs alone", () => {
    for (const text of ["snake_case_name", "2 * 3 * 4", "a ** b", "`", "**", "[x]", "[x]()", "_", "a*"]) {
      expect(inline(text)).toEqual([{ kind: "text", text }]);
    }
  });

  it("knows quotes and blocks of code", () => {
    expect(blocks("> so\n> be it\n\nyes\n```\n**x**\n```\nend").map((block) => block.kind)).toEqual([
      "quote",
      "paragraph",
      "code",
      "paragraph",
    ]);
    expect(blocks("```\nnever closed")).toEqual([
      { kind: "paragraph", inline: [{ kind: "text", text: "```\nnever closed" }] },
    ]);
  });

  it("ends an address before the punctuation of its sentence", () => {
    expect(linksOf("See https://a.example/b, (https://c.example/d) or https://e.example/(f).")).toEqual([
      "https://a.example/b",
      "https://c.example/d",
      "https://e.example/(f)",
    ]);
    expect(linksOf("mailto:ana@harbour.example tombolo:join#k")).toEqual([
      "mailto:ana@harbour.example",
      "tombolo:join#k",
    ]);
  });

  it("loses no word", () => {
    const text = "The [tide](https://tide.example) is **low** at `six`.";
    expect(words(inline(text))).toBe("The tide is low at six.");
  });
});

describe("hostile text", () => {
  it("opens nothing but the four schemes", () => {
    for (const bad of [
      "javascript:alert(1)",
      "JaVaScRiPt:alert(1)",
      "file:///etc/passwd",
      "data:text/html,x",
      "vbscript:x",
      "blob:x",
      "java\tscript:x",
      "//evil.example",
      "x",
    ]) {
      expect(safeHref(bad)).toBeNull();
      expect(linksOf(`[press](${bad}) ${bad}`)).toEqual([]);
    }
  });

  it("keeps HTML as text", () => {
    const text = "<script>alert(1)</script><img src=x onerror=alert(1)>";
    expect(inline(text)).toEqual([{ kind: "text", text }]);
  });

  it("makes no link whose label is another address", () => {
    expect(linksOf("[https://bank.example](https://evil.example)")).not.toContain("https://bank.example)");
    const found = inline("[bank.example](https://evil.example)");
    expect(found.filter((node) => node.kind === "link")).toEqual([
      { kind: "link", href: "https://evil.example", text: "https://evil.example" },
    ]);
  });

  it("ends an address at signs that turn or hide a part of it", () => {
    expect(linksOf("https://good.example/\u202egpj.exe")).toEqual(["https://good.example/"]);
  });

  it("shows what hides in a name", () => {
    expect(visible("Ana\u202e\u0007\u200b\u2066x")).toBe("Ana<202E><0007><200B><2066>x");
    expect(visible("👩‍👩‍👧 Zoë مريم")).toBe("👩‍👩‍👧 Zoë مريم");
  });
});

describe("long text", () => {
  const million = 1_000_000;
  const attacks = {
    stars: "*".repeat(million),
    openers: "**a ".repeat(million / 4),
    brackets: "[".repeat(million),
    labels: "[a](".repeat(million / 4),
    ticks: "`a\n".repeat(million / 3),
    lines: "_a ".repeat(million / 3),
    fences: "```\n".repeat(million / 4),
    addresses: "http://[".repeat(million / 8),
    schemes: "javascript:".repeat(million / 11),
    quotes: "> \n".repeat(million / 3),
    words: "tide ".repeat(million / 5),
    spaces: `*${" ".repeat(million)}`,
  };
  for (const [name, text] of Object.entries(attacks)) {
    it(`parses a megabyte of ${name} in 200 ms (timing)`, () => {
      // The best of three: other work on the machine is not what is measured.
      const times = [1, 2, 3].map(() => {
        const from = performance.now();
        blocks(text);
        return performance.now() - from;
      });
      expect(Math.min(...times)).toBeLessThan(200);
    });
  }

  it("folds at a line and never within a character", () => {
    expect(folded("a".repeat(FOLD))).toHaveLength(FOLD);
    expect(folded(`${"a".repeat(3_000)}\n${"b".repeat(3_000)}`)).toBe("a".repeat(3_000));
    const emoji = folded(`x${"🌊".repeat(FOLD)}`);
    expect(emoji).not.toMatch(/[\ud800-\udbff]$/);
    expect(emoji.length).toBeLessThanOrEqual(FOLD);
  });
});
