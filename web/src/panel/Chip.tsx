// Whether the model is ready; behind a press, which one, where, how fast and how much memory.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Language } from "../api/types";
import { useWords } from "../i18n";
import { current } from "../state/chat";
import { shortName, useChosen } from "../state/choice";
import { server, session, watchStatus } from "../state/session";
import { useStore } from "../state/store";
import { deviceName } from "../ui/format";
import { ModelPanel } from "./ModelPanel";

export function Chip({ language, onModels }: { language: Language; onModels(): void }) {
  const t = useWords();
  const { asksKey } = useStore(session);
  const { connection: known, status } = useStore(server);
  const connection = asksKey ? "locked" : known;
  const { thread } = useStore(current);
  const { name, models } = useChosen(thread);
  const [isOpen, setIsOpen] = useState(false);
  const panel = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const onToggle = (event: Event) => {
      const opens = (event as ToggleEvent).newState === "open";
      setIsOpen(opens);
      watchStatus(opens);
    };
    panel.current!.addEventListener("toggle", onToggle);
    return () => panel.current?.removeEventListener("toggle", onToggle);
  }, []);
  const word = {
    loading: t.statusLoading,
    ready: t.statusReady,
    offline: t.statusOffline,
    locked: t.statusLocked,
  }[connection];
  return (
    <>
      <button type="button" class={`chip is-${connection}`} popovertarget="status-panel" title={t.panelTitle}>
        <i aria-hidden="true" />
        <span role="status">
          {word}
          {connection === "ready" && status ? ` · ${deviceName(status.device)}` : ""}
        </span>
        {connection === "ready" && models.length > 1 ? <b>{shortName(name)}</b> : null}
      </button>
      <div ref={panel} id="status-panel" class="panel" popover="auto" role="region" aria-label={t.panelTitle} tabIndex={0}>
        {isOpen ? <ModelPanel
            connection={connection}
            status={status}
            language={language}
            onModels={() => {
              panel.current?.hidePopover();
              onModels();
            }}
          /> : null}
      </div>
    </>
  );
}
