// Conversations, kept in this browser. The page talks to `ConversationStore` alone, so that the server can hold them later.

import { read, write } from "./prefs";

export interface Turn {
  id: string;
  role: "user" | "assistant";
  text: string;
  images?: string[]; // data URLs
  notices?: string[];
  ending?: "stop" | "length" | "stopped" | "error";
  error?: string;
}

export interface Conversation {
  id: string;
  title: string;
  updated: number; // milliseconds since the epoch
  turns: Turn[];
}

export interface ConversationStore {
  load(): Conversation[];
  /** Returns false when pictures had to be let go to make room. */
  save(conversations: Conversation[]): boolean;
}

const NAME = "localgpt.conversations.v1";

export const newId = () => crypto.getRandomValues(new Uint32Array(3)).reduce((id, n) => id + n.toString(36), "");

const isTurn = (value: unknown): value is Turn => {
  const turn = value as Turn | null;
  return (
    typeof turn === "object" &&
    turn !== null &&
    typeof turn.id === "string" &&
    typeof turn.text === "string" &&
    (turn.role === "user" || turn.role === "assistant")
  );
};

const isConversation = (value: unknown): value is Conversation => {
  const one = value as Conversation | null;
  return (
    typeof one === "object" &&
    one !== null &&
    typeof one.id === "string" &&
    typeof one.title === "string" &&
    typeof one.updated === "number" &&
    Array.isArray(one.turns) &&
    one.turns.every(isTurn)
  );
};

export const browserStore: ConversationStore = {
  load() {
    try {
      const saved: unknown = JSON.parse(read(NAME) ?? "[]");
      return Array.isArray(saved) ? saved.filter(isConversation) : [];
    } catch {
      return [];
    }
  },

  save(conversations) {
    if (write(NAME, JSON.stringify(conversations))) return true;
    // About 5 MB fit. Pictures of the oldest conversations go first; words are kept.
    const kept = conversations.map((one) => ({ ...one }));
    for (const one of [...kept].sort((a, b) => a.updated - b.updated)) {
      if (!one.turns.some((turn) => turn.images?.length)) continue;
      one.turns = one.turns.map(({ images: _images, ...turn }) => turn);
      if (write(NAME, JSON.stringify(kept))) break;
    }
    return false;
  },
};

/** The first words of a conversation, as its title. */
export function titleOf(text: string, fallback: string): string {
  const line = text.slice(0, 200).replace(/\s+/g, " ").trim();
  if (!line) return fallback;
  const letters = [...line];
  return letters.length > 48 ? letters.slice(0, 47).join("").trimEnd() + "…" : line;
}
