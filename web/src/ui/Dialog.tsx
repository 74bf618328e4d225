// A dialog over the page. The browser's own element keeps the focus inside and gives it back when it closes.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { useWords } from "../i18n";
import { Close } from "./icons";

interface Props {
  class: string;
  labelledBy?: string;
  label?: string;
  canClose?: boolean;
  onClose(): void;
  children: ComponentChildren;
}

export function Dialog({ class: name, labelledBy, label, canClose = true, onClose, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const element = dialog.current!;
    const opener = document.activeElement;
    element.showModal();
    return () => {
      element.close();
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={`dialog ${name}`}
      aria-labelledby={labelledBy}
      aria-label={label}
      onCancel={(event) => {
        event.preventDefault();
        if (canClose && event.target === dialog.current) onClose();
      }}
      onClick={(event) => {
        if (canClose && event.target === dialog.current) onClose(); // the shade around it
      }}
    >
      {children}
    </dialog>
  );
}

export function CloseButton({ onClose }: { onClose(): void }) {
  const t = useWords();
  return (
    <button type="button" class="ghost dialog-close" aria-label={t.close} title={t.close} onClick={onClose}>
      <Close />
    </button>
  );
}

interface ConfirmProps {
  text: string;
  yes: string;
  onYes(): void;
  onNo(): void;
}

/** Asks before something that cannot be undone; the harmless answer has the focus. */
export function Confirm({ text, yes, onYes, onNo }: ConfirmProps) {
  const t = useWords();
  return (
    <Dialog class="confirm" labelledBy="confirm-text" onClose={onNo}>
      <p id="confirm-text">{text}</p>
      <div class="buttons">
        <button type="button" class="button" autofocus onClick={onNo}>
          {t.cancel}
        </button>
        <button type="button" class="button is-danger" onClick={onYes}>
          {yes}
        </button>
      </div>
    </Dialog>
  );
}
