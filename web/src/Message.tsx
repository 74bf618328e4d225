// One turn: what was said, what it brought, how it ended.

import { memo } from "preact/compat";
import { useState } from "preact/hooks";
import { failureOf } from "./chat";
import { copyText } from "./clipboard";
import { useWords } from "./context";
import { Again, Alert, Check, Copy, Info, Picture } from "./icons";
import { canShow } from "./images";
import { Markdown } from "./Markdown";
import type { Turn } from "./store";

interface Props {
  turn: Turn;
  isLast: boolean;
  isBusy: boolean;
  isLoading: boolean; // the model is not ready yet
  onAgain(): void;
}

export const Message = memo(function Message(props: Props) {
  return props.turn.role === "user" ? <Asked turn={props.turn} /> : <Answered {...props} />;
});

function Asked({ turn }: { turn: Turn }) {
  const t = useWords();
  return (
    <article class="turn asked" aria-label={t.you}>
      {turn.images?.length ? (
        <div class="pictures">
          {turn.images.map((url, index) =>
            canShow(url) ? (
              <img key={index} src={url} alt={t.picture} />
            ) : (
              <span key={index} class="no-preview">
                <Picture />
                HEIC
              </span>
            ),
          )}
        </div>
      ) : null}
      {turn.text ? <p class="bubble">{turn.text}</p> : null}
    </article>
  );
}

function Answered({ turn, isLast, isBusy, isLoading, onAgain }: Props) {
  const t = useWords();
  const failure = failureOf(turn);
  const isWriting = isLast && isBusy;
  return (
    <article class="turn answered" aria-label={t.assistant} aria-busy={isWriting}>
      {turn.notices?.map((notice) => (
        <p class="notice" key={notice}>
          <Info />
          {notice}
        </p>
      ))}
      {turn.text ? <Markdown text={turn.text} /> : null}
      {isWriting && !turn.text ? (
        <p class="pending">
          <span class="dots" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          {isLoading ? t.waiting : t.thinking}
        </p>
      ) : null}
      {turn.ending === "stopped" ? <p class="ending">{t.stopped}</p> : null}
      {turn.ending === "length" ? <p class="ending">{t.cut}</p> : null}
      {failure ? (
        <div class="failure" role="alert">
          <Alert />
          <div>
            <strong>{t.errorTitle}</strong>
            <p>
              {failure.kind === "offline"
                ? t.errorOffline
                : failure.kind === "interrupted"
                  ? t.errorInterrupted
                  : failure.message}
            </p>
            {isLast ? (
              <button class="button" onClick={onAgain}>
                {t.retry}
              </button>
            ) : null}
          </div>
        </div>
      ) : null}
      {!isWriting && turn.text ? (
        <div class="actions">
          <CopyButton text={turn.text} />
          {isLast && !failure ? (
            <button class="ghost" aria-label={t.regenerate} title={t.regenerate} onClick={onAgain}>
              <Again />
            </button>
          ) : null}
        </div>
      ) : null}
    </article>
  );
}

function CopyButton({ text }: { text: string }) {
  const t = useWords();
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await copyText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1600);
  };
  return (
    <button class="ghost" aria-label={copied ? t.copied : t.copy} title={t.copy} onClick={() => void copy()}>
      {copied ? <Check /> : <Copy />}
    </button>
  );
}
