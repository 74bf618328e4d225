// Keys for other people and programs: list, create (shown once), revoke.

import { useEffect, useState } from "preact/hooks";
import { createKey, listKeys, revokeKey } from "../api/calls";
import type { KeyEntry, Language, Role } from "../api/types";
import { fill, useWords, type Words } from "../i18n";
import { openSession, session } from "../state/session";
import { CopyButton } from "../ui/CopyButton";
import { Confirm } from "../ui/Dialog";
import { wordsOfError } from "../ui/failures";
import { date } from "../ui/format";

/** What a key may do at most, as it stands behind its dates. */
function limitsOf({ limits }: KeyEntry, t: Words): string {
  return [
    limits.requests_per_minute ? ` · ${fill(t.keyHasPerMinute, { count: limits.requests_per_minute })}` : "",
    limits.max_parallel ? ` · ${fill(t.keyHasAtOnce, { count: limits.max_parallel })}` : "",
  ].join("");
}

interface LimitFieldProps {
  label: string;
  value: string;
  onChange(value: string): void;
}

function LimitField({ label, value, onChange }: LimitFieldProps) {
  const t = useWords();
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="number"
        min={1}
        step={1}
        placeholder={t.keyNoLimit}
        value={value}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    </label>
  );
}

export function Keys({ language }: { language: Language }) {
  const t = useWords();
  const [keys, setKeys] = useState<KeyEntry[] | null>(null);
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("user");
  const [perMinute, setPerMinute] = useState("");
  const [atOnce, setAtOnce] = useState("");
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
      const limits = {
        requests_per_minute: isFirst ? null : Number(perMinute) || null,
        max_parallel: isFirst ? null : Number(atOnce) || null,
      };
      // Where no key is needed, who makes the first one goes on with the conversations that are on the screen.
      const takeOver = session.value.session?.needs_key === false;
      const made = await createKey(name.trim(), isFirst ? "admin" : role, limits, takeOver);
      setCreated({ name: made.name, key: made.key });
      setName("");
      setPerMinute("");
      setAtOnce("");
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
                {limitsOf(entry, t)}
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
          <div class="three">
            <label class="field">
              <span>{t.keyRole}</span>
              <select value={role} onChange={(event) => setRole(event.currentTarget.value as Role)}>
                <option value="user">{t.roleUser}</option>
                <option value="admin">{t.roleAdmin}</option>
              </select>
            </label>
            <LimitField label={t.keyPerMinute} value={perMinute} onChange={setPerMinute} />
            <LimitField label={t.keyAtOnce} value={atOnce} onChange={setAtOnce} />
          </div>
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
