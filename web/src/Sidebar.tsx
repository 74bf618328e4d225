// The list of conversations; a drawer on a phone.

import { useWords } from "./context";
import { Close, Compose, Mark, Trash } from "./icons";
import type { Conversation } from "./store";

interface Props {
  conversations: Conversation[];
  currentId: string | null;
  busy: ReadonlySet<string>;
  isOpen: boolean;
  hasKey: boolean;
  onOpen(id: string | null): void;
  onRemove(id: string): void;
  onClose(): void;
  onSignOut(): void;
}

export function Sidebar(props: Props) {
  const t = useWords();
  const midnight = new Date().setHours(0, 0, 0, 0);
  const today = props.conversations.filter((one) => one.updated >= midnight);
  const earlier = props.conversations.filter((one) => one.updated < midnight);
  return (
    <aside class={`sidebar${props.isOpen ? " is-open" : ""}`} aria-label={t.conversations}>
      <div class="brand">
        <Mark />
        <span>{t.appName}</span>
        <button class="ghost only-phone" aria-label={t.closeSidebar} onClick={props.onClose}>
          <Close />
        </button>
      </div>
      <button class="new-chat" onClick={() => props.onOpen(null)}>
        <Compose />
        {t.newChat}
      </button>
      <nav class="list">
        {props.conversations.length === 0 ? <p class="hint">{t.noConversations}</p> : null}
        <Group {...props} title={t.today} conversations={today} />
        <Group {...props} title={t.earlier} conversations={earlier} />
      </nav>
      {props.hasKey ? (
        <button class="sign-out" onClick={props.onSignOut}>
          {t.signOut}
        </button>
      ) : null}
    </aside>
  );
}

function Group({ title, conversations, currentId, busy, onOpen, onRemove }: Props & { title: string }) {
  const t = useWords();
  if (!conversations.length) return null;
  return (
    <section>
      <h2>{title}</h2>
      <ul>
        {conversations.map((one) => (
          <li key={one.id} class={one.id === currentId ? "is-current" : ""}>
            <button
              class="open"
              aria-current={one.id === currentId ? "page" : undefined}
              onClick={() => onOpen(one.id)}
            >
              <span>{one.title}</span>
              {busy.has(one.id) ? <i class="busy-dot" aria-label={t.answering} /> : null}
            </button>
            <button
              class="ghost delete"
              aria-label={`${t.deleteChat}: ${one.title}`}
              title={t.deleteChat}
              onClick={() => onRemove(one.id)}
            >
              <Trash />
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
