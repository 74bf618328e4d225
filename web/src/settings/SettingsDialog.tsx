// Settings, in parts: general, answers, models, data, keys, help. Loaded when it is first opened.

import { useRef, useState } from "preact/hooks";
import type { Language } from "../api/types";
import { useWords } from "../i18n";
import { Models } from "../models/Models";
import { session } from "../state/session";
import { useStore } from "../state/store";
import { CloseButton, Dialog } from "../ui/Dialog";
import { Chat, Cube, Database, Gear, Help, Key } from "../ui/icons";
import { Answers } from "./Answers";
import { Data } from "./Data";
import { General } from "./General";
import { HelpPart } from "./HelpPart";
import { Keys } from "./Keys";
import "../styles/settings.css";

interface Props {
  language: Language;
  part: string; // that is shown first
  onClose(): void;
  onTour(): void;
}

export function SettingsDialog({ language, part: first, onClose, onTour }: Props) {
  const t = useWords();
  const { session: now } = useStore(session);
  const tabs = useRef<HTMLDivElement>(null);
  const parts = [
    { id: "general", label: t.general, icon: <Gear />, body: <General /> },
    { id: "answers", label: t.answers, icon: <Chat />, body: <Answers /> },
    { id: "models", label: t.models, icon: <Cube />, body: <Models language={language} /> },
    { id: "data", label: t.data, icon: <Database />, body: <Data language={language} /> },
    ...(now?.role === "admin" ? [{ id: "keys", label: t.keys, icon: <Key />, body: <Keys language={language} /> }] : []),
    { id: "help", label: t.help, icon: <Help />, body: <HelpPart version={now?.version ?? ""} onTour={onTour} /> },
  ];
  const [shown, setShown] = useState(first);
  const part = parts.find((one) => one.id === shown) ?? parts[0]!;

  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = parts.at((parts.indexOf(part) + step) % parts.length)!;
    setShown(to.id);
    tabs.current!.querySelector<HTMLElement>(`#tab-${to.id}`)!.focus();
  };
  return (
    <Dialog class="settings" labelledBy="settings-title" onClose={onClose}>
      <header>
        <h2 id="settings-title">{t.settings}</h2>
        <CloseButton onClose={onClose} />
      </header>
      <div class="parts">
        <div ref={tabs} class="tabs" role="tablist" aria-label={t.settings} onKeyDown={onKeyDown}>
          {parts.map((one) => (
            <button
              key={one.id}
              type="button"
              id={`tab-${one.id}`}
              role="tab"
              aria-selected={one === part}
              aria-controls="settings-part"
              tabIndex={one === part ? 0 : -1}
              onClick={() => setShown(one.id)}
            >
              {one.icon}
              <span>{one.label}</span>
            </button>
          ))}
        </div>
        <div id="settings-part" class="part" role="tabpanel" aria-labelledby={`tab-${part.id}`} tabIndex={0}>
          {part.body}
        </div>
      </div>
    </Dialog>
  );
}
