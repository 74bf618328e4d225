// One short line over the page, with at most one thing to do about it.

import { useWords } from "../i18n";
import { finishRemoval, list, undoRemoval } from "../state/list";
import { Store, useStore } from "../state/store";
import { Close } from "./icons";

export const notice = new Store<{ text: string | null; undo: (() => void) | null }>({ text: null, undo: null });
const SHOWN_MS = 6000;
let timer = 0;

export function say(text: string, undo: (() => void) | null = null): void {
  notice.set({ text, undo });
  clearTimeout(timer);
  timer = window.setTimeout(hush, SHOWN_MS);
}

const hush = () => notice.set({ text: null, undo: null });

export function Toasts() {
  const t = useWords();
  const { removed } = useStore(list);
  const { text, undo } = useStore(notice);
  return (
    <div class="toasts" role="status">
      {removed ? (
        <div class="toast">
          <span>{t.deleted}</span>
          <button type="button" class="undo" onClick={undoRemoval}>
            {t.undo}
          </button>
          <button type="button" class="ghost" aria-label={t.close} onClick={() => void finishRemoval()}>
            <Close />
          </button>
        </div>
      ) : null}
      {text ? (
        <div class="toast">
          <span>{text}</span>
          {undo ? (
            <button type="button" class="undo" onClick={() => (undo(), hush())}>
              {t.undo}
            </button>
          ) : null}
          <button type="button" class="ghost" aria-label={t.close} onClick={hush}>
            <Close />
          </button>
        </div>
      ) : null}
    </div>
  );
}
