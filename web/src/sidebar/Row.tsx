// One conversation of the list: open, rename in place, save to a file, delete.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { exportPath } from "../api/calls";
import type { Conversation } from "../api/types";
import { useWords } from "../i18n";
import { retitle } from "../state/chat";
import { remove, rename } from "../state/list";
import { say } from "../ui/Toast";
import { wordsOfError } from "../ui/failures";
import { Dots, Download, Pencil, Trash } from "../ui/icons";
import { Menu } from "../ui/Menu";

interface Props {
  one: Conversation;
  isCurrent: boolean;
  isBusy: boolean;
  onOpen(id: string): void;
  onRemoved(id: string): void;
}

export function Row({ one, isCurrent, isBusy, onOpen, onRemoved }: Props) {
  const t = useWords();
  const [isRenaming, setIsRenaming] = useState(false);
  const opener = useRef<HTMLButtonElement>(null);

  const finish = async (title: string | null) => {
    setIsRenaming(false);
    requestAnimationFrame(() => opener.current?.focus());
    if (!title || title === one.title) return;
    try {
      await rename(one.id, title);
      retitle(one.id, title);
    } catch (error) {
      say(wordsOfError(error, t));
    }
  };
  if (isRenaming)
    return (
      <li class="is-current">
        <Renamer title={one.title} onDone={(title) => void finish(title)} />
      </li>
    );
  return (
    <li class={isCurrent ? "is-current" : ""}>
      <button
        ref={opener}
        type="button"
        class="open"
        title={one.title}
        aria-current={isCurrent ? "page" : undefined}
        onClick={() => onOpen(one.id)}
        onDblClick={() => setIsRenaming(true)}
        onKeyDown={(event) => event.key === "F2" && setIsRenaming(true)}
      >
        <span dir="auto">{one.title}</span>
        {isBusy ? <i class="busy-dot" role="img" aria-label={t.answering} /> : null}
      </button>
      <Menu
        class="more"
        label={`${t.moreActions}: ${one.title}`}
        icon={<Dots />}
        items={[
          { label: t.rename, icon: <Pencil />, onSelect: () => setIsRenaming(true) },
          { label: t.exportMarkdown, icon: <Download />, href: exportPath(one.id, "markdown") },
          { label: t.exportJson, icon: <Download />, href: exportPath(one.id, "json") },
          {
            label: t.deleteChat,
            icon: <Trash />,
            isDanger: true,
            onSelect: () => {
              remove(one);
              onRemoved(one.id);
            },
          },
        ]}
      />
    </li>
  );
}

const MAX_TITLE_CHARS = 200;

function Renamer({ title, onDone }: { title: string; onDone(title: string | null): void }) {
  const t = useWords();
  const input = useRef<HTMLInputElement>(null);
  const isDone = useRef(false);
  useLayoutEffect(() => {
    input.current!.focus();
    input.current!.select();
  }, []);
  const done = (value: string | null) => {
    if (isDone.current) return;
    isDone.current = true;
    onDone(value?.trim() || null);
  };
  return (
    <input
      ref={input}
      class="renamer"
      aria-label={t.renameLabel}
      maxLength={MAX_TITLE_CHARS}
      defaultValue={title}
      onBlur={(event) => done(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.isComposing || event.keyCode === 229) return;
        if (event.key === "Enter") done(event.currentTarget.value);
        if (event.key === "Escape") {
          event.stopPropagation();
          done(null);
        }
      }}
    />
  );
}
