// Finds TeX in a text: $…$, $$…$$, \(…\) and \[…\]. It is shown as it was written until the maths part is loaded.

import type { TokenizerAndRendererExtension, Tokens } from "marked";

const escape = (text: string) =>
  text.replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c]!);

const BLOCK = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/;
// A price is not maths: no space inside the dollars, and no digit behind the second one.
const INLINE = /^(?:\$\$([^\n]+?)\$\$|\$(?![\s$])((?:\\[^\n]|[^\\\n$])*?[^\s\\$])\$(?!\d)|\\\(([^\n]+?)\\\)|\\\[([^\n]+?)\\\])/;

const renderer = (token: Tokens.Generic) =>
  token.display
    ? `<div class="math is-block"><code>${escape(String(token.tex))}</code></div>`
    : `<span class="math"><code>${escape(String(token.tex))}</code></span>`;

export const mathExtensions: TokenizerAndRendererExtension[] = [
  {
    name: "mathBlock",
    level: "block",
    start: (source) => source.match(/(?:^|\n)(?:\$\$|\\\[)/)?.index,
    tokenizer(source) {
      const match = BLOCK.exec(source);
      if (!match) return undefined;
      return { type: "mathBlock", raw: match[0], tex: (match[1] ?? match[2] ?? "").trim(), display: true };
    },
    renderer,
  },
  {
    name: "mathInline",
    level: "inline",
    start: (source) => source.match(/\$|\\[([]/)?.index,
    tokenizer(source) {
      const match = INLINE.exec(source);
      if (!match) return undefined;
      const tex = match[1] ?? match[2] ?? match[3] ?? match[4] ?? "";
      return { type: "mathInline", raw: match[0], tex: tex.trim(), display: false };
    },
    renderer,
  },
];
