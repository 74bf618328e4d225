// Keys that work everywhere on the page.

import { useEffect } from "preact/hooks";

interface Shortcuts {
  newChat(): void;
  search(): void;
  settings(): void;
  focus(): void;
  escape(): void;
  isBlocked: boolean; // a dialog is open, and has its own keys
}

export function useShortcuts(shortcuts: Shortcuts): void {
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (shortcuts.isBlocked || event.isComposing || event.defaultPrevented) return;
      const hasCommand = event.ctrlKey || event.metaKey;
      let action: (() => void) | null = null;
      if (event.key === "Escape") action = event.shiftKey ? shortcuts.focus : shortcuts.escape;
      else if (hasCommand && event.shiftKey && event.key.toLowerCase() === "o") action = shortcuts.newChat;
      else if (hasCommand && !event.shiftKey && event.key.toLowerCase() === "k") action = shortcuts.search;
      else if (hasCommand && event.key === ",") action = shortcuts.settings;
      if (!action) return;
      event.preventDefault();
      action();
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  });
}
