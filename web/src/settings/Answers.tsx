// How answers are made: system prompt, temperature, length.

import { useState } from "preact/hooks";
import { fill, useWords } from "../i18n";
import { changeSettings, settings } from "../state/session";
import { useStore } from "../state/store";
import { wordsOfError } from "../ui/failures";

const MAX_PROMPT_CHARS = 4000;
const RANGES = { temperature: [0, 2], max_tokens: [1, 100_000] } as const;

/** The number in a field; null when it is empty, undefined when it is out of range. */
function numberIn(text: string, [min, max]: readonly [number, number], isWhole: boolean): number | null | undefined {
  if (!text.trim()) return null;
  const value = Number(text);
  return value >= min && value <= max && (!isWhole || Number.isInteger(value)) ? value : undefined;
}

export function Answers() {
  const t = useWords();
  const { saved } = useStore(settings);
  const [prompt, setPrompt] = useState(saved.system_prompt);
  const [temperature, setTemperature] = useState(saved.temperature?.toString() ?? "");
  const [maxTokens, setMaxTokens] = useState(saved.max_tokens?.toString() ?? "");
  const [outcome, setOutcome] = useState<{ text: string; isGood: boolean } | null>(null);
  const heat = numberIn(temperature, RANGES.temperature, false);
  const length = numberIn(maxTokens, RANGES.max_tokens, true);

  const onSubmit = async (event: Event) => {
    event.preventDefault();
    if (heat === undefined || length === undefined) return;
    try {
      await changeSettings({ system_prompt: prompt.trim(), temperature: heat, max_tokens: length });
      setOutcome({ text: t.saved, isGood: true });
    } catch (error) {
      setOutcome({ text: fill(t.settingFailed, { why: wordsOfError(error, t) }), isGood: false });
    }
  };
  const problem = (value: number | null | undefined, [min, max]: readonly [number, number], id: string) =>
    value === undefined ? (
      <small class="problem" id={id}>
        {fill(t.notInRange, { min, max })}
      </small>
    ) : null;
  return (
    <form onSubmit={(event) => void onSubmit(event)} onInput={() => setOutcome(null)}>
      <label class="field">
        <span>{t.systemPrompt}</span>
        <textarea
          rows={4}
          maxLength={MAX_PROMPT_CHARS}
          value={prompt}
          onInput={(event) => setPrompt(event.currentTarget.value)}
        />
        <small>{t.systemPromptHint}</small>
      </label>
      <label class="field">
        <span>{t.temperature}</span>
        <input
          inputMode="decimal"
          value={temperature}
          aria-invalid={heat === undefined}
          aria-describedby={heat === undefined ? "heat-problem" : undefined}
          onInput={(event) => setTemperature(event.currentTarget.value)}
        />
        <small>{t.temperatureHint}</small>
        {problem(heat, RANGES.temperature, "heat-problem")}
      </label>
      <label class="field">
        <span>{t.maxTokens}</span>
        <input
          inputMode="numeric"
          value={maxTokens}
          aria-invalid={length === undefined}
          aria-describedby={length === undefined ? "length-problem" : undefined}
          onInput={(event) => setMaxTokens(event.currentTarget.value)}
        />
        <small>{t.maxTokensHint}</small>
        {problem(length, RANGES.max_tokens, "length-problem")}
      </label>
      <div class="line">
        <span role="status" class={outcome && !outcome.isGood ? "problem" : "good"}>
          {outcome?.text}
        </span>
        <button type="submit" class="button is-primary" disabled={heat === undefined || length === undefined}>
          {t.save}
        </button>
      </div>
    </form>
  );
}
