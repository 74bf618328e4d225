// Model text to safe HTML. Three fences, each enough alone: raw HTML is written out as text, DOMPurify removes what
// is not on a short list, and the page's policy runs no inline script and loads nothing from elsewhere.

import DOMPurify from "dompurify";
import { Marked, type Tokens } from "marked";

const escape = (text: string) =>
  text.replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c]!);

const SAFE_LINK = /^(https?:|mailto:)/i;

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escape(text),
    // A picture from elsewhere would tell that elsewhere who reads it: its link is shown instead.
    image: ({ href, text }: Tokens.Image) => escape(text || href),
    link({ href, tokens }: Tokens.Link) {
      const text = this.parser.parseInline(tokens);
      if (!SAFE_LINK.test(href)) return text;
      return `<a href="${escape(href)}" target="_blank" rel="noopener noreferrer nofollow">${text}</a>`;
    },
    code: ({ text, lang }: Tokens.Code) => {
      const name = (lang ?? "").match(/^[\w+#.-]{1,20}/)?.[0] ?? "";
      return `<figure class="code"><figcaption>${escape(name)}</figcaption><pre><code>${escape(text)}</code></pre></figure>`;
    },
    table(token: Tokens.Table) {
      const cell = (tag: string) => (c: Tokens.TableCell) =>
        `<${tag}${c.align ? ` class="${c.align}"` : ""}>${this.parser.parseInline(c.tokens)}</${tag}>`;
      const head = token.header.map(cell("th")).join("");
      const rows = token.rows.map((row) => `<tr>${row.map(cell("td")).join("")}</tr>`).join("");
      return `<div class="table"><table><thead><tr>${head}</tr></thead><tbody>${rows}</tbody></table></div>`;
    },
  },
});

const PURIFY = {
  ALLOWED_TAGS: (
    "a blockquote br code del div em figcaption figure h1 h2 h3 h4 h5 h6 hr input li ol p pre span strong table tbody td th thead tr ul"
  ).split(" "),
  ALLOWED_ATTR: ["href", "target", "rel", "class", "start", "type", "checked", "disabled"],
  RETURN_TRUSTED_TYPE: true as const,
};

/** The top-level blocks of a text. While an answer streams in, only the last ones change and are drawn again. */
export function blocksOf(text: string): string[] {
  return marked
    .lexer(text)
    .filter((token) => token.type !== "space")
    .map((token) => token.raw);
}

/** One block's safe HTML. */
export function blockHtml(source: string): unknown {
  return DOMPurify.sanitize(marked.parse(source, { async: false }), PURIFY);
}
