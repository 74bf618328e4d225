// Voice mode: who speaks, how loud, and what was said.

import "../styles/voice.css";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useWords } from "../i18n";
import { useStore } from "../state/store";
import { CloseButton, Dialog } from "../ui/Dialog";
import { Stop } from "../ui/icons";
import { VoiceCall, type CallState } from "./call";

const WORDS = {
  connecting: "callConnecting",
  listening: "callListening",
  hearing: "callHearing",
  thinking: "callThinking",
  speaking: "callSpeaking",
  over: "callOver",
} as const satisfies Record<CallState, string>;

interface Props {
  model: string;
  onClose(): void;
}

export function VoiceDialog({ model, onClose }: Props) {
  const t = useWords();
  const [call, setCall] = useState(() => new VoiceCall(model));
  const { state, said, problem, detail } = useStore(call.view);
  const log = useRef<HTMLOListElement>(null);

  useEffect(() => {
    void call.start();
    return () => call.hangUp();
  }, [call]);
  useLayoutEffect(() => {
    log.current!.scrollTop = log.current!.scrollHeight;
  }, [said]);

  return (
    <Dialog class="voice" labelledBy="voice-title" onClose={onClose}>
      <header>
        <h2 id="voice-title">{t.callTitle}</h2>
        <CloseButton onClose={onClose} />
      </header>
      <p class="voice-state" role="status">
        {t[WORDS[state]]}
      </p>
      <Levels call={call} />
      {problem ? (
        <p class="problem" role="alert">
          {t[problem]}
        </p>
      ) : null}
      {detail ? <p class="voice-detail">{detail}</p> : null}
      <ol ref={log} class="voice-log" aria-label={t.callTranscript} aria-live="polite" tabIndex={0}>
        {said.map((one) => (
          <li key={one.id} class={`is-${one.role}`} dir="auto">
            <span class="for-screen-readers">{one.role === "user" ? t.callYou : t.callIt}</span>
            {one.text}
          </li>
        ))}
      </ol>
      <div class="buttons">
        {state === "over" ? (
          <button type="button" class="button" onClick={() => setCall(new VoiceCall(model))}>
            {t.callAgain}
          </button>
        ) : (
          <button type="button" class="button" disabled={state !== "speaking"} onClick={() => call.interrupt()}>
            <Stop />
            {t.callInterrupt}
          </button>
        )}
        <button type="button" class="button" onClick={onClose}>
          {t.callHangUp}
        </button>
      </div>
      <p class="voice-note">{t.callNote}</p>
    </Dialog>
  );
}

function Levels({ call }: { call: VoiceCall }) {
  const t = useWords();
  const { mine, theirs } = useStore(call.levels);
  return (
    <div class="voice-levels">
      <Level label={t.callYou} value={mine} />
      <Level label={t.callIt} value={theirs} />
    </div>
  );
}

function Level({ label, value }: { label: string; value: number }) {
  return (
    <label class="voice-level">
      <span>{label}</span>
      <meter min={0} max={1} value={value} />
    </label>
  );
}
