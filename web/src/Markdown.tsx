// An answer's text, drawn block by block: a block that did not change is not drawn again.

import { memo } from "preact/compat";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { copyText } from "./clipboard";
import { useWords } from "./context";
import { blockHtml, blocksOf } from "./markdown";

const COPIED_MS = 1600;

async function copyCode(button: HTMLButtonElement, copied: string, copy: string): Promise<void> {
  const code = button.closest("figure")?.querySelector("code")?.textContent ?? "";
  await copyText(code);
  button.textContent = copied;
  setTimeout(() => (button.textContent = copy), COPIED_MS);
}

const BlockView = memo(function BlockView({ source }: { source: string }) {
  const t = useWords();
  const holder = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = holder.current!;
    (element as { innerHTML: unknown }).innerHTML = blockHtml(source);
    for (const caption of element.querySelectorAll("figure.code > figcaption")) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = t.copy;
      button.addEventListener("click", () => void copyCode(button, t.copied, t.copy));
      caption.append(button);
    }
  }, [source, t]);
  return <div class="block" ref={holder} />;
});

export function Markdown({ text }: { text: string }) {
  const blocks = useMemo(() => blocksOf(text), [text]);
  return (
    <div class="prose">
      {blocks.map((source, index) => (
        <BlockView key={index} source={source} />
      ))}
    </div>
  );
}
