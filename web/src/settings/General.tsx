// Language, appearance, and who is signed in.

import type { Language, Settings, Theme } from "../api/types";
import { fill, useWords } from "../i18n";
import { browserLanguage } from "../state/local";
import { changeSettings, session, settings, signOut } from "../state/session";
import { useStore } from "../state/store";
import { wordsOfError } from "../ui/failures";
import { say } from "../ui/Toast";

const NAMES: Record<Language, string> = { en: "English", zh: "中文" };

export function General() {
  const t = useWords();
  const { saved } = useStore(settings);
  const { session: now } = useStore(session);
  const change = async (patch: Partial<Settings>) => {
    try {
      await changeSettings(patch);
    } catch (error) {
      say(fill(t.settingFailed, { why: wordsOfError(error, t) }));
    }
  };
  return (
    <>
      <label class="field">
        <span>{t.languageChoice}</span>
        <select
          value={saved.language ?? ""}
          onChange={(event) => void change({ language: (event.currentTarget.value || null) as Language | null })}
        >
          <option value="">{fill(t.languageAuto, { name: NAMES[browserLanguage()] })}</option>
          <option value="en" lang="en">
            English
          </option>
          <option value="zh" lang="zh-Hans">
            中文
          </option>
        </select>
      </label>
      <fieldset class="field">
        <legend>{t.themeChoice}</legend>
        <div class="choices">
          {(
            [
              ["", t.themeAuto],
              ["light", t.themeLight],
              ["dark", t.themeDark],
            ] as const
          ).map(([value, label]) => (
            <label key={value}>
              <input
                type="radio"
                name="theme"
                value={value}
                checked={(saved.theme ?? "") === value}
                onChange={() => void change({ theme: (value || null) as Theme | null })}
              />
              <span>{label}</span>
            </label>
          ))}
        </div>
      </fieldset>
      <div class="field">
        <span>{t.account}</span>
        {now?.needs_key && now.signed_in ? (
          <div class="line">
            <span>{fill(t.signedInAs, { name: now.name ?? "" })}</span>
            <button
              type="button"
              class="button"
              onClick={() => signOut().catch((error: unknown) => say(wordsOfError(error, t)))}
            >
              {t.signOut}
            </button>
          </div>
        ) : (
          <p class="hint">{t.accountLocal}</p>
        )}
      </div>
    </>
  );
}
