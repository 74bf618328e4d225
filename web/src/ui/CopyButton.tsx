// Copies a text and says so for a moment.

import { useEffect, useRef, useState } from "preact/hooks";
import { useWords } from "../i18n";
import { copyText } from "./clipboard";
import { Check, Copy } from "./icons";

const COPIED_MS = 1600;

export function CopyButton({ text, label, withText = false }: { text: string; label: string; withText?: boolean }) {
  const t = useWords();
  const [copied, setCopied] = useState(false);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    await copyText(text);
    setCopied(true);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setCopied(false), COPIED_MS);
  };
  return (
    <button
      type="button"
      class={withText ? "button" : "ghost"}
      aria-label={copied ? t.copied : label}
      title={label}
      onClick={() => void copy()}
    >
      {copied ? <Check /> : <Copy />}
      {withText ? (copied ? t.copied : label) : null}
    </button>
  );
}
