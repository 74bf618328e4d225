// The microphone beside the message box: a click records, another one writes down what was said.

import { useEffect, useState } from "preact/hooks";
import { fill, useWords } from "../i18n";
import { cancelDictation, dictation, startDictation, stopDictation } from "../state/dictation";
import { session } from "../state/session";
import { useStore } from "../state/store";
import { detailOf, wordsOf } from "../ui/failures";
import { Cross, Microphone, Stop } from "../ui/icons";

export function DictateButton() {
  const t = useWords();
  const { session: here } = useStore(session);
  const { state } = useStore(dictation);
  if (!here?.voice) return null;
  const label = state === "idle" ? t.dictate : state === "recording" ? t.dictateStop : t.dictateCancel;
  const onClick = () => {
    if (state === "recording") stopDictation();
    else if (state !== "idle") cancelDictation();
    else void startDictation();
  };
  return (
    <button
      type="button"
      class={`ghost dictate is-${state}`}
      aria-label={label}
      title={state === "recording" ? `${label} (Esc: ${t.dictateCancel})` : label}
      onClick={onClick}
    >
      {state === "idle" ? <Microphone /> : state === "recording" ? <Stop /> : <Cross />}
    </button>
  );
}

/** What the dictation does, or why it does not. */
export function DictationState() {
  const t = useWords();
  const { state, since, problem, failure } = useStore(dictation);
  const [now, setNow] = useState(0);
  useEffect(() => {
    if (since === null) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [since]);
  if (problem || failure) {
    return (
      <p class="problem" role="alert">
        {problem ? t[problem] : wordsOf(failure!, t)}
        {failure && detailOf(failure, t) ? <small>{detailOf(failure, t)}</small> : null}
      </p>
    );
  }
  if (state === "idle") return null;
  const seconds = since === null ? 0 : Math.max(0, Math.floor((now - since) / 1000));
  const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  return (
    <p class="dictation" role="timer" aria-live="off">
      {state === "recording" ? <i class="recording" aria-hidden="true" /> : null}
      {state === "asking" ? t.dictateAsking : state === "writing" ? t.dictateWriting : fill(t.dictateRecording, { time })}
    </p>
  );
}
