// Keys that work everywhere on the page.

import { useEffect, useRef } from "preact/hooks";

interface Shortcuts {
  newChat(): void;
  search(): void;
  settings(): void;
  focus(): void;
  escape(): void;
  isBlocked: boolean; // a dialog is open, and has its own keys
}

export function useShortcuts(shortcuts: Shortcuts): void {
  const latest = useRef(shortcuts);
  latest.current = shortcuts;
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      const now = latest.current;
      if (now.isBlocked || event.isComposing || event.defaultPrevented) return;
      if (event.key === "Escape" && document.querySelector(":popover-open")) return; // it closes that
      const hasCommand = event.ctrlKey || event.metaKey;
      let action: (() => void) | null = null;
      if (event.key === "Escape") action = event.shiftKey ? now.focus : now.escape;
      else if (hasCommand && event.shiftKey && event.key.toLowerCase() === "o") action = now.newChat;
      else if (hasCommand && !event.shiftKey && event.key.toLowerCase() === "k") action = now.search;
      else if (hasCommand && event.key === ",") action = now.settings;
      if (!action) return;
      event.preventDefault();
      action();
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, []);
}
