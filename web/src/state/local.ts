// What this browser remembers: looks (so that the first paint is right), what is typed but not sent, and what is sent
// but not yet known to be stored. Everything else lives on the server. All of it is optional: storage may be off.

import type { Attachment, Language, Theme } from "../api/types";

const PREFIX = "localgpt.";
const DRAFT = `${PREFIX}draft.`;
const OUTBOX = `${PREFIX}outbox.`;

export function read(name: string): string | null {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

export function write(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
  } catch {
    // Full, or switched off. What is on the screen stays there.
  }
}

function readJson<Value>(name: string): Value | null {
  try {
    return JSON.parse(read(name) ?? "null") as Value | null;
  } catch {
    return null;
  }
}

function names(prefix: string): string[] {
  try {
    return Object.keys(localStorage).filter((name) => name.startsWith(prefix));
  } catch {
    return [];
  }
}

export function loadLanguage(): Language | null {
  const saved = read("language");
  return saved === "en" || saved === "zh" ? saved : null;
}

/** The browser's language, as far as the page speaks it. */
export function browserLanguage(): Language {
  const known = navigator.languages.find((tag) => /^(zh|en)\b/i.test(tag));
  return known?.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function loadTheme(): Theme | null {
  const saved = read("theme");
  return saved === "light" || saved === "dark" ? saved : null;
}

export interface SavedDraft {
  text: string;
  attachments: Attachment[];
}

/** The draft of a conversation; `null` names the one not begun yet. */
export function loadDraft(id: string | null): SavedDraft {
  const saved = readJson<SavedDraft>(`draft.${id ?? "new"}`);
  return { text: saved?.text ?? "", attachments: saved?.attachments ?? [] };
}

export function saveDraft(id: string | null, draft: SavedDraft): void {
  const isEmpty = !draft.text && !draft.attachments.length;
  write(`draft.${id ?? "new"}`, isEmpty ? null : JSON.stringify(draft));
}

/** A message on its way to the server. */
export interface Unsent {
  conversation: string;
  title: string;
  model?: string | null; // of a conversation that may have to be begun
  id: string;
  parent_id: string | null;
  text: string;
  attachments: Attachment[];
  created_at: number;
}

export const putUnsent = (unsent: Unsent) => write(`outbox.${unsent.id}`, JSON.stringify(unsent));
export const dropUnsent = (id: string) => write(`outbox.${id}`, null);
export function allUnsent(): Unsent[] {
  return names(OUTBOX)
    .map((name) => readJson<Unsent>(name.slice(PREFIX.length)))
    .filter((one): one is Unsent => one !== null)
    .sort((a, b) => a.created_at - b.created_at);
}

/** Forget what was typed: on signing out, and with all conversations. */
export function forgetTyped(): void {
  for (const name of [...names(DRAFT), ...names(OUTBOX)]) write(name.slice(PREFIX.length), null);
}

export const newId = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
};
