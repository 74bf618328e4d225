// A conversation as a tree: messages point at their parents, siblings are branches, the leaf names the one shown.

import { ApiError, type FailureKind } from "../api/client";
import type { Preview } from "../api/answer";
import type { Message } from "../api/types";
import { Store } from "./store";

export interface Failure {
  kind: FailureKind;
  message: string;
  retryAt: number | null; // milliseconds since the epoch
  code?: string | null; // the server's word for it
}

/** A picture on its way. */
export interface Painting {
  preview: Preview | null;
  done: number; // steps
  total: number | null;
}

/** A message, and how far it has come. Without `state` it is stored. */
export interface Entry extends Message {
  state?: "saving" | "unsent" | "writing" | "failed";
  failure?: Failure;
  painting?: Painting;
}

export interface Thread {
  id: string;
  title: string;
  model: string | null; // null: as the settings say
  isStored: boolean;
  load: "loading" | "ready" | "failed" | "missing";
  messages: ReadonlyMap<string, Entry>;
  leaf: string | null;
  isBusy: boolean; // something is being stored or answered here
}

export type ThreadStore = Store<Thread>;

interface Stored {
  messages: Message[];
  leaf: string | null;
  title: string;
  model: string | null;
}

export function newThread(id: string, title: string, model: string | null = null): ThreadStore {
  return new Store<Thread>({
    id,
    title,
    model,
    isStored: false,
    load: "ready",
    messages: new Map(),
    leaf: null,
    isBusy: false,
  });
}

export function failureOf(error: unknown): Failure {
  if (!(error instanceof ApiError)) throw error;
  const { kind, message, retryAfterS, code } = error;
  return { kind, message, retryAt: kind === "busy" ? Date.now() + 1000 * (retryAfterS ?? 5) : null, code };
}

/** From the first message to the leaf. */
export function branchOf(messages: ReadonlyMap<string, Entry>, leaf: string | null): Entry[] {
  const branch: Entry[] = [];
  for (let id = leaf; id !== null && branch.length <= messages.size; ) {
    const entry = messages.get(id);
    if (!entry) break;
    branch.push(entry);
    id = entry.parent_id;
  }
  return branch.reverse();
}

const isEmptyFailure = (entry: Entry) =>
  entry.role === "assistant" && !entry.text && (entry.state === "failed" || entry.finish_reason === "error");

/** For each message, the ids that stand beside it (it included), oldest first. Failed attempts count for nothing. */
export function siblingsById(messages: ReadonlyMap<string, Entry>): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  const byId = new Map<string, string[]>();
  for (const entry of messages.values()) {
    const key = `${entry.role}:${entry.parent_id ?? ""}`;
    const group = groups.get(key) ?? [];
    groups.set(key, group);
    if (!isEmptyFailure(entry)) group.push(entry.id);
    byId.set(entry.id, group);
  }
  return byId;
}

/** The newest message below `id`: where its branch was left. */
export function newestBelow(messages: ReadonlyMap<string, Entry>, id: string): string {
  const newestChild = new Map<string, string>();
  for (const entry of messages.values()) if (entry.parent_id) newestChild.set(entry.parent_id, entry.id);
  let at = id;
  for (let child = newestChild.get(at); child !== undefined; child = newestChild.get(at)) at = child;
  return at;
}

/** The nearest message at or above `id` that the server has. */
export function storedAtOrAbove(messages: ReadonlyMap<string, Entry>, id: string | null): string | null {
  for (let at = id; at !== null; ) {
    const entry = messages.get(at);
    if (!entry) return null;
    if (!entry.state) return at;
    at = entry.parent_id;
  }
  return null;
}

export function putEntry(thread: ThreadStore, entry: Entry, patch: Partial<Thread> = {}): void {
  thread.set({ messages: new Map(thread.value.messages).set(entry.id, entry), ...patch });
}

export function patchEntry(thread: ThreadStore, id: string, patch: Partial<Entry>, more: Partial<Thread> = {}): void {
  const entry = thread.value.messages.get(id);
  if (entry) putEntry(thread, { ...entry, ...patch }, more);
}

export function dropEntry(thread: ThreadStore, id: string): void {
  const messages = new Map(thread.value.messages);
  const parent = messages.get(id)?.parent_id ?? null;
  messages.delete(id);
  thread.set({ messages, leaf: thread.value.leaf === id ? parent : thread.value.leaf });
}

/**
 * What the server has, and what only this page knows yet. With `keepsAll`, messages were added here since the server
 * was asked: what it did not name is kept.
 */
export function mergeStored(thread: ThreadStore, found: Stored, keepsAll = false): void {
  const { messages: stored, leaf, title, model } = found;
  const messages = new Map<string, Entry>();
  const before = thread.value.messages;
  for (const message of stored) {
    const known = before.get(message.id);
    messages.set(message.id, known && isSame(known, message) ? known : message);
  }
  let hasOwn = false;
  for (const entry of before.values()) {
    if (messages.has(entry.id) ? entry.state !== "writing" : !entry.state && !keepsAll) continue;
    messages.set(entry.id, entry);
    hasOwn ||= entry.id === thread.value.leaf;
  }
  // A message may have been stored between the server's look at the leaf and at the messages.
  const last = leaf ?? stored.at(-1)?.id ?? null;
  thread.set({
    messages,
    title,
    model,
    isStored: true,
    load: "ready",
    leaf: hasOwn || last === null ? thread.value.leaf : newestBelow(messages, last),
  });
}

/** The same object is kept where nothing changed, so that it is not drawn again. */
const isSame = (known: Entry, stored: Message) =>
  !known.state &&
  known.pictures.length === stored.pictures.length &&
  known.text === stored.text &&
  known.finish_reason === stored.finish_reason &&
  known.notices.length === stored.notices.length &&
  known.attachments.length === stored.attachments.length;
