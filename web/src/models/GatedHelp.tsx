// How to get a model whose makers want their terms accepted. Tokens belong to the server alone: none is typed here.

import type { OpenModel } from "../api/types";
import { useWords } from "../i18n";

export function GatedHelp({ model, hub, isOpen = false }: { model: OpenModel; hub: string | null; isOpen?: boolean }) {
  const t = useWords();
  return (
    <details open={isOpen}>
      <summary>{t.gatedTitle}</summary>
      <ol>
        <li>
          {t.gatedAccept}{" "}
          {hub ? (
            <a href={`${hub}/${model.repo}`} target="_blank" rel="noopener noreferrer">
              {`${hub}/${model.repo}`.replace(/^https?:\/\//, "")}
            </a>
          ) : (
            <code>{model.repo}</code>
          )}
        </li>
        <li>
          {t.gatedToken} <code>hf auth login</code>
        </li>
        <li>{t.gatedAgain}</li>
      </ol>
      <p>{t.gatedNever}</p>
    </details>
  );
}
