// Conversations that older versions of the page kept in this browser: moved to the server once.

import { addMessage, createConversation } from "../api/calls";
import { ApiError } from "../api/client";
import { uploadPicture } from "../api/upload";
import { read, write } from "./local";

const NAME = "conversations.v1";

interface OldTurn {
  id: string;
  role: "user" | "assistant";
  text: string;
  images?: string[]; // data URLs
}

interface OldConversation {
  id: string;
  title: string;
  updated: number;
  turns: OldTurn[];
}

const isTurn = (value: unknown): value is OldTurn => {
  const turn = value as Partial<OldTurn> | null;
  return (
    typeof turn?.id === "string" &&
    typeof turn.text === "string" &&
    (turn.role === "user" || turn.role === "assistant")
  );
};

const isConversation = (value: unknown): value is OldConversation => {
  const one = value as Partial<OldConversation> | null;
  return (
    typeof one?.id === "string" &&
    typeof one.title === "string" &&
    Array.isArray(one.turns) &&
    one.turns.every(isTurn)
  );
};

function oldConversations(): OldConversation[] {
  try {
    const saved: unknown = JSON.parse(read(NAME) ?? "[]");
    return Array.isArray(saved) ? saved.filter(isConversation) : [];
  } catch {
    return [];
  }
}

/** The bytes of a data URL, without asking the network stack, which the page's policy would refuse. */
function blobOf(url: string): Blob | null {
  const match = /^data:([\w/+.-]+);base64,([A-Za-z0-9+/=]+)$/.exec(url);
  if (!match) return null;
  return new Blob([Uint8Array.from(atob(match[2]!), (c) => c.charCodeAt(0))], { type: match[1]! });
}

async function picturesOf(turn: OldTurn): Promise<string[]> {
  const ids: string[] = [];
  for (const [index, url] of (turn.images ?? []).entries()) {
    const blob = blobOf(url);
    if (!blob) continue;
    const name = `picture-${index + 1}`;
    ids.push((await uploadPicture(blob, name, () => undefined, new AbortController().signal)).id);
  }
  return ids;
}

async function move(old: OldConversation): Promise<void> {
  const id = `old_${old.id}`;
  await createConversation(id, old.title, null);
  let parent: string | null = null;
  for (const turn of old.turns) {
    const attachments = await picturesOf(turn);
    if (!turn.text.trim() && !attachments.length) continue;
    await addMessage(id, {
      id: `old_${turn.id}`,
      parent_id: parent,
      text: turn.text,
      attachments,
      ...(turn.role === "assistant" ? { role: "assistant" } : {}),
    });
    parent = `old_${turn.id}`;
  }
}

/** Move all, oldest first. What could not be moved stays in the browser; moving twice makes nothing double. */
export async function importOldConversations(): Promise<{ count: number; isUnfinished: boolean }> {
  const left = oldConversations().sort((a, b) => a.updated - b.updated);
  let count = 0;
  let isUnfinished = false;
  for (const one of [...left]) {
    try {
      await move(one);
      left.splice(left.indexOf(one), 1);
      count += 1;
      write(NAME, left.length ? JSON.stringify(left) : null);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      isUnfinished = true;
      if (error.kind !== "refused") break;
    }
  }
  return { count, isUnfinished };
}
