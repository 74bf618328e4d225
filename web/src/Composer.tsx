// Where a message is written: text, pictures by button, paste or drop, send and stop.

import type { Ref } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { useWords } from "./context";
import { Arrow, Close, Picture, Stop } from "./icons";
import { canShow } from "./images";

export interface Draft {
  text: string;
  images: string[];
}

interface Props {
  draft: Draft;
  isBusy: boolean;
  problem: string | null;
  inputRef: Ref<HTMLTextAreaElement> & { current: HTMLTextAreaElement | null };
  onChange(draft: Draft): void;
  onFiles(files: File[]): void;
  onSend(): void;
  onStop(): void;
}

export function Composer({ draft, isBusy, problem, inputRef, onChange, onFiles, onSend, onStop }: Props) {
  const t = useWords();
  const picker = useRef<HTMLInputElement>(null);
  const canSend = Boolean(draft.text.trim() || draft.images.length);

  useLayoutEffect(() => {
    const input = inputRef.current!;
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight}px`;
  }, [draft.text]);

  const onKeyDown = (event: KeyboardEvent) => {
    // While an input method composes (Chinese, Japanese), Enter picks a word and sends nothing.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (canSend && !isBusy) onSend();
  };

  const onPaste = (event: ClipboardEvent) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    onFiles(files);
  };

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        if (canSend && !isBusy) onSend();
      }}
    >
      {problem ? (
        <p class="problem" role="alert">
          {problem}
        </p>
      ) : null}
      <div class="box">
        {draft.images.length ? (
          <ul class="thumbs">
            {draft.images.map((url, index) => (
              <li key={url}>
                {canShow(url) ? (
                  <img src={url} alt={t.picture} />
                ) : (
                  <span class="no-preview">
                    <Picture />
                    HEIC
                  </span>
                )}
                <button
                  type="button"
                  class="remove"
                  aria-label={t.removeImage}
                  title={t.removeImage}
                  onClick={() => onChange({ ...draft, images: draft.images.filter((_, other) => other !== index) })}
                >
                  <Close />
                </button>
              </li>
            ))}
          </ul>
        ) : null}
        <div class="row">
          <button
            type="button"
            class="ghost attach"
            aria-label={t.attach}
            title={t.attach}
            onClick={() => picker.current!.click()}
          >
            <Picture />
          </button>
          <input
            ref={picker}
            class="picker"
            type="file"
            accept="image/*,.heic,.heif"
            multiple
            tabIndex={-1}
            aria-hidden="true"
            onChange={(event) => {
              onFiles([...(event.currentTarget.files ?? [])]);
              event.currentTarget.value = "";
            }}
          />
          <textarea
            id="message"
            ref={inputRef}
            rows={1}
            value={draft.text}
            placeholder={draft.images.length ? t.placeholderPhoto : t.placeholder}
            aria-label={t.placeholder}
            enterkeyhint="send"
            onInput={(event) => onChange({ ...draft, text: event.currentTarget.value })}
            onKeyDown={onKeyDown}
            onPaste={onPaste}
          />
          {isBusy ? (
            <button type="button" class="send" aria-label={t.stop} title={`${t.stop} (Esc)`} onClick={onStop}>
              <Stop />
            </button>
          ) : (
            <button type="submit" class="send" aria-label={t.send} title={t.hint} disabled={!canSend}>
              <Arrow />
            </button>
          )}
        </div>
      </div>
    </form>
  );
}
