// The list of conversations: in pages, newest first, or as found by a search.

import { deleteConversation, deleteData, listConversations, patchConversation } from "../api/calls";
import { ApiError } from "../api/client";
import type { Conversation } from "../api/types";
import { Store } from "./store";
import { tellOthers } from "./sync";

const PAGE = 40;
const DEBOUNCE_MS = 200;
const UNDO_MS = 7000;

export interface List {
  items: Conversation[];
  next: string | null;
  load: "loading" | "ready" | "failed";
  query: string; // what is typed
  shownQuery: string; // what `items` answers
  busy: ReadonlySet<string>; // conversations with an answer under way, here or in another window
  removed: Conversation | null; // can still be taken back
}

export const list = new Store<List>({
  items: [],
  next: null,
  load: "loading",
  query: "",
  shownQuery: "",
  busy: new Set(),
  removed: null,
});

let asked = new AbortController();
let debounce = 0;
let undoTimer = 0;
const hidden = new Set<string>(); // removed on the screen, not yet on the server

const shown = (items: Conversation[]) => items.filter((one) => !hidden.has(one.id));

/** Ask for the first page again. What is known further down stays. */
export async function refreshList(): Promise<void> {
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  const query = list.value.query.trim();
  const keepsOlder = query === list.value.shownQuery && list.value.load === "ready";
  try {
    const page = await listConversations({ query, limit: PAGE }, signal);
    const oldest = page.data.at(-1)?.updated_at ?? 0;
    const known = new Set(page.data.map((one) => one.id));
    const older = keepsOlder && page.next ? list.value.items.filter((o) => o.updated_at < oldest && !known.has(o.id)) : [];
    list.set({
      items: shown([...page.data, ...older]),
      next: older.length ? list.value.next : page.next,
      load: "ready",
      shownQuery: query,
    });
  } catch (error) {
    if (!signal.aborted && error instanceof ApiError) list.set({ load: "failed" });
    else if (!signal.aborted) throw error;
  }
}

export async function loadMore(): Promise<void> {
  const { next, shownQuery, load } = list.value;
  if (!next || load !== "ready") return;
  list.set({ load: "loading" });
  const { signal } = asked;
  try {
    const page = await listConversations({ query: shownQuery, before: next, limit: PAGE }, signal);
    if (signal.aborted) return;
    const known = new Set(list.value.items.map((one) => one.id));
    const fresh = page.data.filter((one) => !known.has(one.id));
    list.set({ items: shown([...list.value.items, ...fresh]), next: page.next, load: "ready" });
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    list.set({ load: "failed" });
  }
}

export function search(query: string): void {
  list.set({ query });
  clearTimeout(debounce);
  debounce = window.setTimeout(() => void refreshList(), DEBOUNCE_MS);
}

/** Put a conversation that was just written to at the top. */
export function touch(one: Conversation): void {
  if (list.value.shownQuery) return void refreshList();
  list.set({ items: shown([one, ...list.value.items.filter((other) => other.id !== one.id)]) });
}

export function setBusy(id: string, isBusy: boolean): void {
  const busy = new Set(list.value.busy);
  if (isBusy) busy.add(id);
  else busy.delete(id);
  list.set({ busy });
}

export async function rename(id: string, title: string): Promise<void> {
  const before = list.value.items;
  list.set({ items: before.map((one) => (one.id === id ? { ...one, title } : one)) });
  try {
    await patchConversation(id, { title });
    tellOthers(id);
  } catch (error) {
    list.set({ items: before });
    throw error;
  }
}

/** Take a conversation off the list. The server deletes it when it can no longer be taken back. */
export function remove(one: Conversation): void {
  void finishRemoval();
  hidden.add(one.id);
  list.set({ items: shown(list.value.items), removed: one });
  undoTimer = window.setTimeout(() => void finishRemoval(), UNDO_MS);
}

export function undoRemoval(): void {
  const { removed, items } = list.value;
  clearTimeout(undoTimer);
  if (!removed) return;
  hidden.delete(removed.id);
  const back = [...items, removed].sort((a, b) => b.updated_at - a.updated_at);
  list.set({ removed: null, items: back });
}

export async function finishRemoval(keepalive = false): Promise<void> {
  const { removed } = list.value;
  clearTimeout(undoTimer);
  if (!removed) return;
  list.set({ removed: null });
  try {
    await deleteConversation(removed.id, keepalive);
    tellOthers(removed.id);
  } catch (error) {
    hidden.delete(removed.id);
    if (!(error instanceof ApiError)) throw error;
    if (error.kind !== "missing") void refreshList(); // it is still there, and the list must say so
  }
}

export async function removeAll(): Promise<void> {
  list.set({ removed: null });
  await deleteData();
  list.set({ items: [], next: null });
  tellOthers(null);
}

// Closing the page is not taking it back.
addEventListener("pagehide", () => void finishRemoval(true));
