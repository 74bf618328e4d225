// What the reader said: pictures, words, and a way to say it differently.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { attachmentPath } from "../api/calls";
import type { Attachment } from "../api/types";
import { fill, useWords } from "../i18n";
import { canDraw } from "../state/pictures";
import { CopyButton } from "../ui/CopyButton";
import { Pencil, Picture } from "../ui/icons";
import { Branches } from "./Branches";
import { FailureBox } from "./Failure";
import type { MessageProps } from "./Message";

export function Asked({ entry, siblings, isIdle, isLast, actions }: MessageProps) {
  const t = useWords();
  const [isEditing, setIsEditing] = useState(false);
  const isStored = !entry.state;
  return (
    <article class="turn asked" aria-label={t.you} data-id={entry.id}>
      {entry.attachments.length ? (
        <div class="pictures">
          {entry.attachments.map((one, index) => (
            <Shown key={index} attachment={one} onView={actions.view} />
          ))}
        </div>
      ) : null}
      {isEditing ? (
        <Editor
          text={entry.text}
          canBeEmpty={entry.attachments.length > 0}
          onCancel={() => setIsEditing(false)}
          onSend={(text) => {
            setIsEditing(false);
            actions.edit(entry.id, text);
          }}
        />
      ) : entry.text ? (
        <p class={`bubble${isStored ? "" : " is-unsent"}`} dir="auto">
          {entry.text}
        </p>
      ) : null}
      {entry.state === "unsent" && entry.failure ? (
        entry.failure.kind === "offline" || entry.failure.kind === "interrupted" ? (
          <div class="unsent" role="status">
            <span>{t.notSent}</span>
            <button type="button" class="link" disabled={!isIdle} onClick={() => actions.again(entry.id)}>
              {t.retry}
            </button>
            <button type="button" class="link" disabled={!isIdle} onClick={() => actions.discard(entry.id)}>
              {t.discard}
            </button>
          </div>
        ) : (
          <FailureBox
            failure={entry.failure}
            canRetry={isIdle}
            onRetry={() => actions.again(entry.id)}
            onDiscard={() => actions.discard(entry.id)}
          />
        )
      ) : null}
      {isStored && !isEditing ? (
        <div class="actions">
          <Branches ids={siblings} id={entry.id} isDisabled={!isIdle} onShow={actions.showBranch} />
          {entry.text ? <CopyButton text={entry.text} label={t.copyMessage} /> : null}
          <button
            type="button"
            class="ghost edit"
            aria-label={t.editMessage}
            title={t.editMessage}
            disabled={!isIdle}
            onClick={() => setIsEditing(true)}
          >
            <Pencil />
          </button>
        </div>
      ) : null}
      {isStored && isLast && isIdle ? (
        <p class="unanswered">
          {t.noAnswer}{" "}
          <button type="button" class="link" onClick={() => actions.again(entry.id)}>
            {t.answerNow}
          </button>
        </p>
      ) : null}
    </article>
  );
}

function Shown({ attachment, onView }: { attachment: Attachment; onView(attachment: Attachment): void }) {
  const t = useWords();
  const [isBroken, setIsBroken] = useState(!canDraw(attachment.media_type));
  const name = attachment.name || t.picture;
  if (isBroken)
    return (
      <span class="no-preview" role="img" aria-label={fill(t.pictureNamed, { name })} title={name}>
        <Picture />
        {canDraw(attachment.media_type) ? t.noPreview : "HEIC"}
      </span>
    );
  return (
    <button type="button" class="picture" aria-label={fill(t.viewLarge, { name })} onClick={() => onView(attachment)}>
      <img
        src={attachmentPath(attachment)}
        alt={fill(t.pictureNamed, { name })}
        loading="lazy"
        onError={() => setIsBroken(true)}
      />
    </button>
  );
}

interface EditorProps {
  text: string;
  canBeEmpty: boolean;
  onSend(text: string): void;
  onCancel(): void;
}

function Editor({ text, canBeEmpty, onSend, onCancel }: EditorProps) {
  const t = useWords();
  const [now, setNow] = useState(text);
  const input = useRef<HTMLTextAreaElement>(null);
  const canSend = Boolean(now.trim()) || canBeEmpty;
  useLayoutEffect(() => {
    const area = input.current!;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }, []);
  useLayoutEffect(() => {
    const area = input.current!;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [now]);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      onCancel();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      if (canSend) onSend(now.trim());
    }
  };
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        if (canSend) onSend(now.trim());
      }}
    >
      <textarea
        ref={input}
        rows={1}
        aria-label={t.editMessage}
        value={now}
        onInput={(event) => setNow(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <div class="buttons">
        <span class="hint">{t.editHint}</span>
        <button type="button" class="button" onClick={onCancel}>
          {t.cancel}
        </button>
        <button type="submit" class="button is-primary" disabled={!canSend}>
          {t.sendEdited}
        </button>
      </div>
    </form>
  );
}
