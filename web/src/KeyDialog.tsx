// Asks for the key of a server that needs one.

import { useEffect, useRef, useState } from "preact/hooks";
import { useWords } from "./context";
import { Lock } from "./icons";

export function KeyDialog({ wasWrong, onKey }: { wasWrong: boolean; onKey(key: string): void }) {
  const t = useWords();
  const dialog = useRef<HTMLDialogElement>(null);
  const [key, setKey] = useState("");
  useEffect(() => {
    dialog.current!.showModal();
  }, []);
  return (
    <dialog ref={dialog} class="key-dialog" aria-labelledby="key-title" onCancel={(event) => event.preventDefault()}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (key.trim()) onKey(key.trim());
        }}
      >
        <Lock />
        <h2 id="key-title">{t.keyTitle}</h2>
        <p>{t.keyText}</p>
        <label>
          {t.keyLabel}
          <input
            type="password"
            autocomplete="current-password"
            value={key}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
        </label>
        {wasWrong ? (
          <p class="problem" role="alert">
            {t.keyWrong}
          </p>
        ) : null}
        <button class="button is-primary" type="submit" disabled={!key.trim()}>
          {t.signIn}
        </button>
      </form>
    </dialog>
  );
}
