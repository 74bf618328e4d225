// The tour again, the keyboard, the version.

import { fill, useWords } from "../i18n";

const COMMAND = /Mac|iPhone|iPad/.test(navigator.userAgent) ? "⌘" : "Ctrl";

export function HelpPart({ version, onTour }: { version: string; onTour(): void }) {
  const t = useWords();
  const shortcuts: [string, string[]][] = [
    [t.shortcutNew, [COMMAND, "Shift", "O"]],
    [t.shortcutSearch, [COMMAND, "K"]],
    [t.shortcutSettings, [COMMAND, ","]],
    [t.shortcutFocus, ["Shift", "Esc"]],
    [t.shortcutStop, ["Esc"]],
    [t.shortcutEdit, ["↑"]],
    [t.shortcutSend, ["Enter"]],
    [t.shortcutLine, ["Shift", "Enter"]],
  ];
  return (
    <>
      <button type="button" class="button" onClick={onTour}>
        {t.tourAgain}
      </button>
      <h3>{t.shortcuts}</h3>
      <dl class="figures">
        {shortcuts.map(([what, keys]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
      <p class="hint">
        {fill(t.version, { version })}{" "}
        <a href="/licences.txt" target="_blank" rel="noopener">
          {t.licences}
        </a>
      </p>
    </>
  );
}
