// Model text to safe HTML. Three fences, each enough alone: raw HTML is written out as text, DOMPurify removes what
// is not on a short list, and the page's policy runs no inline script and loads nothing from elsewhere.

import DOMPurify from "dompurify";
import { Marked, type Tokens, type TokensList } from "marked";
import { mathExtensions } from "./tex";

export const escape = (text: string) =>
  text.replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c]!);

const SAFE_LINK = /^(https?:|mailto:)/i;

const marked = new Marked({
  gfm: true,
  breaks: true,
  extensions: mathExtensions,
  renderer: {
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escape(text),
    // A picture from elsewhere would tell that elsewhere who reads it: its link is shown instead.
    image: ({ href, text }: Tokens.Image) => escape(text || href),
    checkbox: ({ checked }: Tokens.Checkbox) => (checked ? "☑ " : "☐ "),
    link({ href, tokens }: Tokens.Link) {
      const text = this.parser.parseInline(tokens);
      if (!SAFE_LINK.test(href)) return text;
      return `<a href="${escape(href)}" target="_blank" rel="noopener noreferrer nofollow">${text}</a>`;
    },
    code: ({ text, lang }: Tokens.Code) => {
      const name = (lang ?? "").match(/^[\w+#.-]{1,20}/)?.[0] ?? "";
      return `<figure class="code"><figcaption><span>${escape(name)}</span></figcaption><pre tabindex="0"><code>${escape(text)}</code></pre></figure>`;
    },
    table(token: Tokens.Table) {
      const cell = (tag: string) => (c: Tokens.TableCell) =>
        `<${tag}${c.align ? ` class="${c.align}"` : ""}>${this.parser.parseInline(c.tokens)}</${tag}>`;
      const head = token.header.map(cell("th")).join("");
      const rows = token.rows.map((row) => `<tr>${row.map(cell("td")).join("")}</tr>`).join("");
      return `<div class="table" tabindex="0"><table><thead><tr>${head}</tr></thead><tbody>${rows}</tbody></table></div>`;
    },
  },
});

const PURIFY = {
  ALLOWED_TAGS: (
    "a blockquote br code del div em figcaption figure h1 h2 h3 h4 h5 h6 hr li ol p pre span strong table tbody td th thead tr ul"
  ).split(" "),
  ALLOWED_ATTR: ["href", "target", "rel", "class", "start", "tabindex"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_TRUSTED_TYPE: true as const,
};

/** One block's safe HTML. */
export function blockHtml(source: string): unknown {
  return DOMPurify.sanitize(marked.parse(source, { async: false }), PURIFY);
}

/** MathML alone: no links, no styles, nothing that loads. */
export function safeMathMl(mathMl: string): unknown {
  return DOMPurify.sanitize(mathMl, {
    USE_PROFILES: { mathMl: true },
    FORBID_TAGS: ["annotation-xml", "maction", "mglyph"],
    FORBID_ATTR: ["style", "href", "xlink:href", "id", "src"],
    RETURN_TRUSTED_TYPE: true as const,
  });
}

/** What a highlighter wrote: spans with classes. */
export function safeSpans(html: string): unknown {
  return DOMPurify.sanitize(html, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_TRUSTED_TYPE: true as const });
}

const FIRM_TOKENS = 2; // tokens at the end that the next words may still change

/**
 * Splits a growing text into its top-level blocks. What came before the last tokens is not read again, so that a long
 * answer costs the same per word as a short one.
 */
export class BlockSplitter {
  #text = "";
  #tokens: { raw: string; type: string }[] = [];

  split(text: string): string[] {
    let kept: { raw: string; type: string }[] = [];
    if (text.startsWith(this.#text)) kept = this.#tokens.slice(0, Math.max(0, this.#tokens.length - FIRM_TOKENS));
    const offset = kept.reduce((sum, token) => sum + token.raw.length, 0);
    const fresh: TokensList = marked.lexer(text.slice(offset));
    // The lexer changes line ends and tabs; where its raws no longer add up, the whole is read at once.
    const isExact = fresh.reduce((sum, token) => sum + token.raw.length, offset) === text.length;
    this.#text = isExact ? text : "";
    this.#tokens = [...kept, ...fresh.map(({ raw, type }) => ({ raw, type }))];
    return this.#tokens.filter((token) => token.type !== "space").map((token) => token.raw);
  }
}
