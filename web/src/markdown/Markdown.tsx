// An answer's text, drawn block by block: a block that did not change is not drawn again.

import { memo } from "preact/compat";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { useWords, type Words } from "../i18n";
import { copyText } from "../ui/clipboard";
import { BlockSplitter, blockHtml } from "./html";

const COPIED_MS = 1600;

async function copyCode(button: HTMLButtonElement, t: Words): Promise<void> {
  await copyText(button.closest("figure")?.querySelector("code")?.textContent ?? "");
  button.textContent = t.copied;
  setTimeout(() => (button.textContent = t.copyCode), COPIED_MS);
}

function setHtml(element: Element, html: unknown): void {
  (element as { innerHTML: unknown }).innerHTML = html;
}

/** Colours and formulas come when their part of the page is loaded; until then the text stands as written. */
async function enrich(element: HTMLElement, isOver: () => boolean): Promise<void> {
  const codes = [...element.querySelectorAll<HTMLElement>("figure.code")];
  const formulas = [...element.querySelectorAll<HTMLElement>(".math")];
  if (codes.some((figure) => figure.querySelector("figcaption > span")?.textContent)) {
    const { highlighted } = await import("./highlight");
    if (isOver()) return;
    for (const figure of codes) {
      const code = figure.querySelector("code")!;
      const html = highlighted(code.textContent ?? "", figure.querySelector("figcaption > span")?.textContent ?? "");
      if (html !== null) setHtml(code, html);
    }
  }
  if (formulas.length) {
    const { mathMl } = await import("./math");
    if (isOver()) return;
    for (const formula of formulas) {
      const html = mathMl(formula.textContent ?? "", formula.classList.contains("is-block"));
      if (html !== null) setHtml(formula, html);
    }
  }
}

const BlockView = memo(function BlockView({ source, isGrowing }: { source: string; isGrowing: boolean }) {
  const t = useWords();
  const holder = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = holder.current!;
    let isOver = false;
    setHtml(element, blockHtml(source));
    for (const caption of element.querySelectorAll("figure.code > figcaption")) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = t.copyCode;
      button.addEventListener("click", () => void copyCode(button, t));
      caption.append(button);
    }
    if (!isGrowing) void enrich(element, () => isOver);
    return () => {
      isOver = true;
    };
  }, [source, isGrowing, t]);
  return <div class="block" ref={holder} />;
});

/** `isGrowing`: the answer is being written, and its last block is not done. */
export function Markdown({ text, isGrowing }: { text: string; isGrowing: boolean }) {
  const splitter = useRef<BlockSplitter | null>(null);
  splitter.current ??= new BlockSplitter();
  const blocks = useMemo(() => splitter.current!.split(text), [text]);
  return (
    <div class="prose">
      {blocks.map((source, index) => (
        <BlockView key={index} source={source} isGrowing={isGrowing && index === blocks.length - 1} />
      ))}
    </div>
  );
}
