// What went wrong, and what can be done about it. A server that is too busy is asked again by itself.

import { useEffect, useRef, useState } from "preact/hooks";
import { fill, useWords } from "../i18n";
import type { Failure } from "../state/thread";
import { detailOf, wordsOf } from "../ui/failures";
import { Alert } from "../ui/icons";

interface Props {
  failure: Failure;
  canRetry: boolean;
  onRetry(): void;
  onDiscard?(): void;
}

export function FailureBox({ failure, canRetry, onRetry, onDiscard }: Props) {
  const t = useWords();
  const detail = detailOf(failure, t);
  const isWaiting = failure.retryAt !== null && canRetry;
  return (
    <div class="failure">
      <Alert />
      <div>
        <div role="alert">
          <strong>{t.errorTitle}</strong>
          <p>{wordsOf(failure, t)}</p>
        </div>
        {detail ? (
          <details>
            <summary>{t.details}</summary>
            <p>{detail}</p>
          </details>
        ) : null}
        <div class="buttons">
          {isWaiting ? <Countdown until={failure.retryAt!} onOver={onRetry} /> : null}
          {canRetry ? (
            <button type="button" class="button" onClick={onRetry}>
              {isWaiting ? t.errorBusyNow : t.retry}
            </button>
          ) : null}
          {onDiscard ? (
            <button type="button" class="button" onClick={onDiscard}>
              {t.discard}
            </button>
          ) : null}
        </div>
      </div>
    </div>
  );
}

function Countdown({ until, onOver }: { until: number; onOver(): void }) {
  const t = useWords();
  const left = () => Math.max(0, Math.ceil((until - Date.now()) / 1000));
  const [seconds, setSeconds] = useState(left);
  const over = useRef(onOver);
  over.current = onOver;
  useEffect(() => {
    const timer = setInterval(() => {
      setSeconds(left());
      if (Date.now() < until) return;
      clearInterval(timer);
      over.current();
    }, 250);
    return () => clearInterval(timer);
  }, [until]);
  return <span class="countdown">{fill(t.errorBusyCountdown, { seconds })}</span>;
}
