// What went wrong, in the reader's words, with the server's own behind it; nothing is offered to be done.

import { useWords } from "../i18n";
import type { Failure } from "../state/thread";
import { detailOf, wordsOf } from "./failures";

export function Problem({ failure }: { failure: Failure }) {
  const t = useWords();
  const detail = detailOf(failure, t);
  return (
    <div class="problem" role="alert">
      {wordsOf(failure, t)}
      {detail ? (
        <details>
          <summary>{t.details}</summary>
          <p>{detail}</p>
        </details>
      ) : null}
    </div>
  );
}
