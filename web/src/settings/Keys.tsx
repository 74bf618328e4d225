// Keys for other people and programs: list, create (shown once), revoke.

import { useEffect, useState } from "preact/hooks";
import { createKey, listKeys, revokeKey } from "../api/calls";
import type { KeyEntry, Language, Role } from "../api/types";
import { fill, useWords } from "../i18n";
import { openSession } from "../state/session";
import { CopyButton } from "../ui/CopyButton";
import { Confirm } from "../ui/Dialog";
import { wordsOfError } from "../ui/failures";
import { date } from "../ui/format";

export function Keys({ language }: { language: Language }) {
  const t = useWords();
  const [keys, setKeys] = useState<KeyEntry[] | null>(null);
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("user");
  const [created, setCreated] = useState<{ name: string; key: string } | null>(null);
  const [revoking, setRevoking] = useState<KeyEntry | null>(null);
  const [problem, setProblem] = useState<string | null>(null);

  const attempt = async (work: () => Promise<void>) => {
    setProblem(null);
    try {
      await work();
      setKeys((await listKeys()).data);
    } catch (error) {
      setProblem(wordsOfError(error, t));
    }
  };
  useEffect(() => void attempt(async () => undefined), []);

  const isFirst = keys !== null && keys.length === 0;
  const onCreate = (event: Event) => {
    event.preventDefault();
    void attempt(async () => {
      const made = await createKey(name.trim(), isFirst ? "admin" : role);
      setCreated({ name: made.name, key: made.key });
      setName("");
      await openSession(); // with the first key, this browser is signed in
    });
  };
  const onRevoke = (entry: KeyEntry) => {
    setRevoking(null);
    void attempt(async () => {
      await revokeKey(entry.id);
      await openSession();
    });
  };
  return (
    <>
      <p class="hint">{t.keysText}</p>
      {problem ? (
        <p class="problem" role="alert">
          {problem}
        </p>
      ) : null}
      {created ? (
        <div class="new-key" role="status">
          <p>{fill(t.keyNew, { name: created.name })}</p>
          <code tabIndex={0}>{created.key}</code>
          <CopyButton text={created.key} label={t.keyCopy} withText />
        </div>
      ) : null}
      {isFirst ? <p class="hint">{t.keysNone}</p> : null}
      <ul class="keys">
        {keys?.map((entry) => (
          <li key={entry.id} class="line">
            <span>
              <strong>{entry.name}</strong> <em>{entry.role === "admin" ? t.roleAdmin : t.roleUser}</em>
              <small>
                {fill(t.keyCreated, { when: date(entry.created_at, language) })} ·{" "}
                {entry.last_used_at ? fill(t.keyUsed, { when: date(entry.last_used_at, language) }) : t.keyUnused}
              </small>
            </span>
            <button
              type="button"
              class="button is-danger"
              aria-label={`${t.keyRevoke}: ${entry.name}`}
              onClick={() => setRevoking(entry)}
            >
              {t.keyRevoke}
            </button>
          </li>
        ))}
      </ul>
      <form class="new-key-form" onSubmit={onCreate}>
        <label class="field">
          <span>{t.keyName}</span>
          <input
            value={name}
            maxLength={64}
            placeholder={t.keyNameHint}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        {isFirst ? (
          <p class="hint">{t.keysFirst}</p>
        ) : (
          <label class="field">
            <span>{t.keyRole}</span>
            <select value={role} onChange={(event) => setRole(event.currentTarget.value as Role)}>
              <option value="user">{t.roleUser}</option>
              <option value="admin">{t.roleAdmin}</option>
            </select>
          </label>
        )}
        <button type="submit" class="button is-primary" disabled={!name.trim() || keys === null}>
          {t.keyCreate}
        </button>
      </form>
      {revoking ? (
        <Confirm
          text={fill(t.keyRevokeSure, { name: revoking.name })}
          yes={t.keyRevoke}
          onYes={() => onRevoke(revoking)}
          onNo={() => setRevoking(null)}
        />
      ) : null}
    </>
  );
}
