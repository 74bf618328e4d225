// Where a message is written: text, pictures by button, paste or drop, send and stop.

import type { Ref } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { fill, useWords, type Words } from "../i18n";
import { addFiles, composer, write, type Problem } from "../state/composer";
import { dictation } from "../state/dictation";
import { MAX_PICTURES } from "../state/pictures";
import { brush } from "../state/paint";
import { useStore } from "../state/store";
import { Brushes } from "../paint/Brushes";
import { Arrow, Brush, Picture, Stop } from "../ui/icons";
import { DictateButton, DictationState } from "./Dictate";
import { Thumbs } from "./Thumbs";

interface Props {
  isBusy: boolean;
  isReady: boolean; // the conversation is loaded
  inputRef: Ref<HTMLTextAreaElement> & { current: HTMLTextAreaElement | null };
  pickerRef: Ref<HTMLInputElement> & { current: HTMLInputElement | null };
  onSend(): void;
  onStop(): void;
  onEditLast(): void;
  onModels(): void;
}

const wordsOfProblem = (problem: Problem, t: Words) =>
  problem.reason === "tooMany" ? fill(t.tooMany, { count: MAX_PICTURES }) : fill(t[problem.reason], { name: problem.name });

export function Composer({ isBusy, isReady, inputRef, pickerRef, onSend, onStop, onEditLast, onModels }: Props) {
  const t = useWords();
  const { text, pictures, problem } = useStore(composer);
  const { isOn: isPainting } = useStore(brush);
  const isComposing = useRef(false);
  const isStored = pictures.every((picture) => picture.attachment);
  const canSend = Boolean(text.trim() || (pictures.length && !isPainting)) && isStored && isReady && !isBusy;

  useLayoutEffect(() => {
    const input = inputRef.current!;
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight}px`;
  }, [text]);

  const { state: dictated } = useStore(dictation);
  const wasWriting = useRef(false);
  useEffect(() => {
    if (wasWriting.current && dictated === "idle") inputRef.current?.focus(); // what was said can be sent
    wasWriting.current = dictated === "writing";
  }, [dictated]);

  const onKeyDown = (event: KeyboardEvent) => {
    // While an input method composes (Chinese, Japanese), keys pick words and send nothing.
    if (event.isComposing || event.keyCode === 229 || isComposing.current) return;
    if (event.key === "ArrowUp" && !text) {
      event.preventDefault();
      onEditLast();
    }
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    if (canSend) onSend();
  };

  const onPaste = (event: ClipboardEvent) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    void addFiles(files);
  };

  return (
    <form
      class="composer"
      aria-label={t.placeholder}
      onSubmit={(event) => {
        event.preventDefault();
        if (canSend) onSend();
      }}
    >
      {problem ? (
        <p class="problem" role="alert">
          {wordsOfProblem(problem, t)}
        </p>
      ) : null}
      <DictationState />
      <div class="box">
        <Brushes onModels={onModels} />
        <Thumbs pictures={pictures} />
        <div class="row">
          <button
            type="button"
            class="ghost attach"
            aria-label={t.attach}
            title={t.attach}
            onClick={() => pickerRef.current!.click()}
          >
            <Picture />
          </button>
          <button
            type="button"
            class="ghost attach brush"
            aria-label={t.paint}
            title={t.paint}
            aria-pressed={isPainting}
            onClick={() => {
              brush.set({ isOn: !isPainting });
              inputRef.current?.focus();
            }}
          >
            <Brush />
          </button>
          <input
            ref={pickerRef}
            class="picker"
            type="file"
            accept="image/*,.heic,.heif"
            multiple
            tabIndex={-1}
            aria-hidden="true"
            onChange={(event) => {
              void addFiles([...(event.currentTarget.files ?? [])]);
              event.currentTarget.value = "";
              inputRef.current?.focus();
            }}
          />
          <textarea
            id="message"
            ref={inputRef}
            rows={1}
            value={text}
            placeholder={isPainting ? t.placeholderPaint : pictures.length ? t.placeholderPhoto : t.placeholder}
            aria-label={t.placeholder}
            enterkeyhint="send"
            onInput={(event) => write(event.currentTarget.value)}
            onCompositionStart={() => (isComposing.current = true)}
            onCompositionEnd={() => (isComposing.current = false)}
            onKeyDown={onKeyDown}
            onPaste={onPaste}
          />
          <DictateButton />
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
