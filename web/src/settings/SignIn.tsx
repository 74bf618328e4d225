// Asks for the key of a server that needs one. The key is exchanged for a session and kept nowhere.

import { useState } from "preact/hooks";
import { ApiError } from "../api/client";
import { useWords } from "../i18n";
import { signIn } from "../state/session";
import { Dialog } from "../ui/Dialog";
import { wordsOfError } from "../ui/failures";
import { Lock } from "../ui/icons";

export function SignIn({ onSignedIn }: { onSignedIn(): void }) {
  const t = useWords();
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const onSubmit = async (event: Event) => {
    event.preventDefault();
    if (!key.trim()) return;
    setProblem(null);
    try {
      if (await signIn(key.trim())) onSignedIn();
    } catch (error) {
      setProblem(error instanceof ApiError && error.kind === "key" ? t.keyWrong : wordsOfError(error, t));
    }
  };
  return (
    <Dialog class="sign-in" labelledBy="key-title" canClose={false} onClose={() => undefined}>
      <form onSubmit={(event) => void onSubmit(event)}>
        <Lock />
        <h2 id="key-title">{t.keyTitle}</h2>
        <p>{t.keyText}</p>
        <label class="field">
          <span>{t.keyLabel}</span>
          <input
            type="password"
            autocomplete="current-password"
            aria-invalid={problem !== null}
            value={key}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
        </label>
        {problem ? (
          <p class="problem" role="alert">
            {problem}
          </p>
        ) : null}
        <button class="button is-primary" type="submit" disabled={!key.trim()}>
          {t.signIn}
        </button>
      </form>
    </Dialog>
  );
}
