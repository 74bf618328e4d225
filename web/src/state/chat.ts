// Conversations in use: opening, sending, answering, stopping, branching. Nothing typed is dropped before the server
// says that it is stored.

import { addMessage, createConversation, deleteConversation, getConversation, patchConversation } from "../api/calls";
import { streamAnswer, type Preview } from "../api/answer";
import { ApiError } from "../api/client";
import type { Attachment, Conversation, PaintWish } from "../api/types";
import { choiceIsKnown, nextModel } from "./choice";
import { refreshList, setBusy, touch } from "./list";
import { allUnsent, dropUnsent, newId, putUnsent } from "./local";
import { pollStatus } from "./session";
import { Store } from "./store";
import { tellBusy, tellOthers } from "./sync";
import {
  branchOf,
  dropEntry,
  failureOf,
  mergeStored,
  newestBelow,
  newThread,
  patchEntry,
  putEntry,
  storedAtOrAbove,
  type Entry,
  type Painting,
  type ThreadStore,
} from "./thread";

export const current = new Store<{ thread: ThreadStore | null }>({ thread: null });
const threads = new Map<string, ThreadStore>();
const running = new Map<string, AbortController>();
let numBegun = 0; // pieces of work, so that a reply can be known to be older than what is here

/** Show a conversation, or with null the beginning of a new one. */
export function open(id: string | null, title = ""): void {
  if (id === null) return current.set({ thread: null });
  const thread = threads.get(id) ?? newThread(id, title);
  threads.set(id, thread);
  current.set({ thread });
  if (!thread.value.isBusy) void load(thread);
}

const SECOND_LOOK_MS = 500;

/** Read a conversation from the server; what waits to be sent is put below it. */
export async function load(thread: ThreadStore, isSecondLook = false): Promise<void> {
  if (!thread.value.messages.size) thread.set({ load: "loading" });
  const numBegunBefore = numBegun;
  try {
    mergeStored(thread, await getConversation(thread.value.id), numBegun !== numBegunBefore);
  } catch (error) {
    const failure = failureOf(error);
    const isNew = failure.kind === "missing" && allUnsent().some((one) => one.conversation === thread.value.id);
    if (failure.kind === "missing") thread.set({ load: isNew ? "ready" : "missing" });
    else if (!thread.value.messages.size) thread.set({ load: "failed" });
  }
  for (const unsent of allUnsent().filter((one) => one.conversation === thread.value.id)) {
    if (thread.value.messages.has(unsent.id)) {
      if (!thread.value.messages.get(unsent.id)!.state) dropUnsent(unsent.id);
      continue;
    }
    const failure = { kind: "interrupted" as const, message: "", retryAt: null };
    putEntry(thread, { ...asked(unsent), state: "unsent", failure }, { leaf: unsent.id, load: "ready", title: unsent.title });
  }
  const last = thread.value.leaf === null ? undefined : thread.value.messages.get(thread.value.leaf);
  if (isSecondLook || last?.role !== "user" || last.state) return;
  // A window that was closed while it was answered has what was written stored a moment later.
  setTimeout(() => {
    const isForgotten = threads.get(thread.value.id) !== thread; // it was deleted meanwhile
    if (!isForgotten && !thread.value.isBusy) void load(thread, true);
  }, SECOND_LOOK_MS);
}

/** Read again what another window changed, and conversations that are open here. */
export function reloadChanged(id: string | null): void {
  for (const [other, thread] of threads) {
    if (thread.value.isBusy || (id !== null && other !== id)) continue;
    if (thread === current.value.thread) void load(thread);
    else threads.delete(other);
  }
}

/** A conversation has a new title. */
export function retitle(id: string, title: string): void {
  threads.get(id)?.set({ title });
}

export function forget(id: string | null): void {
  for (const other of id === null ? [...threads.keys()] : [id]) {
    running.get(other)?.abort();
    threads.delete(other);
    if (current.value.thread?.value.id === other) open(null);
  }
}

function asked(from: { id: string; parent_id: string | null; text: string; attachments: Attachment[] }): Entry {
  const { id, parent_id, text, attachments } = from;
  return {
    id, parent_id, role: "user", text, attachments,
    notices: [], finish_reason: null, error: null, model: null, usage: null, pictures: [], created_at: Date.now() / 1000,
  }; // prettier-ignore
}

const TITLE_CHARS = 48;

/** The first words of a conversation, as its title. */
export function titleOf(text: string, fallback: string): string {
  const letters = [...text.slice(0, 200).replace(/\s+/g, " ").trim()];
  if (!letters.length) return fallback;
  return letters.length > TITLE_CHARS ? letters.slice(0, TITLE_CHARS - 1).join("").trimEnd() + "…" : letters.join("");
}

/** Send a message at the end of what is shown; begins a conversation where none is open. */
export async function send(text: string, attachments: Attachment[], untitled: string, paint?: PaintWish): Promise<void> {
  let thread = current.value.thread;
  if (!thread) {
    thread = newThread(newId(), titleOf(text, untitled), nextModel.value.model);
    nextModel.set({ model: null });
    threads.set(thread.value.id, thread);
    current.set({ thread });
  }
  await say(thread, storedAtOrAbove(thread.value.messages, thread.value.leaf), text, attachments, paint);
}

/** Messages of this visit that were sent to be painted, and how: trying again paints, too. */
const wishes = new Map<string, PaintWish>();

/** Say something else instead of `id`: a branch beside it. */
export async function edit(thread: ThreadStore, id: string, text: string): Promise<void> {
  const before = thread.value.messages.get(id);
  if (before) await say(thread, before.parent_id, text, before.attachments, wishes.get(id));
}

/** Do work in a conversation that `stop` can end; one at a time. */
async function busily(thread: ThreadStore, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const { id, isBusy } = thread.value;
  if (isBusy) return;
  const controller = new AbortController();
  running.set(id, controller);
  numBegun += 1;
  thread.set({ isBusy: true });
  setBusy(id, true);
  tellBusy(id, true);
  try {
    await choiceIsKnown(id); // else the model before would answer
    await work(controller.signal);
  } finally {
    running.delete(id);
    setBusy(id, false);
    tellBusy(id, false);
    thread.set({ isBusy: false });
  }
}

async function say(
  thread: ThreadStore,
  parentId: string | null,
  text: string,
  attachments: Attachment[],
  paint?: PaintWish,
): Promise<void> {
  const entry: Entry = { ...asked({ id: newId(), parent_id: parentId, text, attachments }), state: "saving" };
  if (paint) wishes.set(entry.id, paint);
  putEntry(thread, entry, { leaf: entry.id });
  putUnsent({
    conversation: thread.value.id,
    title: thread.value.title,
    model: thread.value.model,
    id: entry.id,
    parent_id: parentId,
    text,
    attachments,
    created_at: entry.created_at,
  });
  await storeAndAnswer(thread, entry, paint);
}

const storeAndAnswer = (thread: ThreadStore, entry: Entry, paint?: PaintWish) =>
  busily(thread, async (signal) => {
    if ((await store(thread, entry)) && !signal.aborted) await answer(thread, entry.id, signal, paint);
  });

async function store(thread: ThreadStore, entry: Entry): Promise<boolean> {
  const { id, title, model } = thread.value;
  patchEntry(thread, entry.id, { state: "saving", failure: undefined });
  try {
    if (!thread.value.isStored) await createConversation(id, title, model);
    thread.set({ isStored: true });
    const attachments = entry.attachments.map((one) => one.id);
    const saved = await addMessage(id, { id: entry.id, parent_id: entry.parent_id, text: entry.text, attachments });
    putEntry(thread, saved);
  } catch (error) {
    const failure = failureOf(error);
    patchEntry(thread, entry.id, { state: "unsent", failure });
    if (failure.kind === "offline") void pollStatus();
    if (failure.kind === "missing") void refreshList(); // it was deleted elsewhere
    return false;
  }
  dropUnsent(entry.id);
  touch(summaryOf(thread));
  tellOthers(id);
  return true;
}

function summaryOf(thread: ThreadStore): Conversation {
  const { id, title, messages, leaf, model } = thread.value;
  const now = Date.now() / 1000;
  return { id, title, created_at: now, updated_at: now, num_messages: messages.size, leaf, model };
}

/** Have the message `parentId` answered; an earlier answer stays as a branch. */
async function answer(thread: ThreadStore, parentId: string, signal: AbortSignal, paint?: PaintWish): Promise<void> {
  const conversationId = thread.value.id;
  const id = newId();
  const blank = asked({ id, parent_id: parentId, text: "", attachments: [] });
  putEntry(thread, { ...blank, role: "assistant", state: "writing" }, { leaf: id });
  let text = "";
  let notices: string[] = [];
  let painting: Painting | undefined;
  let hasPictures = false;
  let frame = 0;
  const draw = () => {
    frame = 0;
    patchEntry(thread, id, { text, notices, painting });
  };
  const paintOn = (more: Partial<Painting>) => {
    painting = { preview: null, done: 0, total: null, ...painting, ...more };
    soon();
  };
  const soon = () => (frame ||= requestAnimationFrame(draw));
  const events = {
    onText: (piece: string) => ((text += piece), soon()),
    onNotices: (more: string[]) => ((notices = [...notices, ...more]), soon()),
    onProgress: (done: number, total: number | null) => paintOn({ done, total }),
    onPreview: (preview: Preview) => paintOn({ preview }),
    onPictures: () => void (hasPictures = true),
  };
  let end: Partial<Entry>;
  try {
    const finish_reason = await streamAnswer(conversationId, { parent_id: parentId, id, paint }, events, signal);
    end = { state: undefined, finish_reason };
  } catch (error) {
    end = signal.aborted ? { state: undefined, finish_reason: "cancelled" } : failed(error);
  }
  cancelAnimationFrame(frame);
  const isPainted = hasPictures && end.finish_reason === "stop"; // the last stage is shown until the picture is read
  patchEntry(thread, id, { text, notices, painting: isPainted ? painting : undefined, ...end });
  if (signal.aborted || (end.failure && text) || isPainted) await settle(thread, id);
  if (isPainted && thread.value.messages.get(id)?.painting) patchEntry(thread, id, { painting: undefined });
  touch(summaryOf(thread));
  tellOthers(conversationId);
}

const SETTLE_MS = [0, 100, 200, 400, 800];

/** Wait until the server has stored what was written of an answer that broke off, so that the next message can follow it. */
async function settle(thread: ThreadStore, id: string): Promise<void> {
  for (const pause of SETTLE_MS) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    const stored = await getConversation(thread.value.id).catch((error: unknown) => void failureOf(error));
    if (!stored) return;
    if (!stored.messages.some((message) => message.id === id)) continue;
    return mergeStored(thread, stored);
  }
}

function failed(error: unknown): Partial<Entry> {
  const failure = failureOf(error);
  const isStale = failure.code === "model_not_found"; // what is known of the models here
  if (failure.kind === "offline" || failure.kind === "interrupted" || isStale) void pollStatus();
  return { state: "failed", failure };
}

export function stop(): void {
  const thread = current.value.thread;
  if (thread) running.get(thread.value.id)?.abort();
}

/** Try again what failed, whatever it was; on an answer that succeeded, make another one. */
export async function again(thread: ThreadStore, id: string): Promise<void> {
  const entry = thread.value.messages.get(id);
  if (!entry || thread.value.isBusy) return;
  if (entry.role === "user" && entry.failure?.kind === "missing") {
    // Its conversation was deleted meanwhile; what was written begins another one.
    discard(thread, id);
    open(null);
    return send(entry.text, entry.attachments, thread.value.title, wishes.get(id));
  }
  if (entry.role === "user" && entry.state) return storeAndAnswer(thread, entry, wishes.get(id));
  const parentId = entry.role === "user" ? id : entry.parent_id;
  if (parentId === null) return;
  if (entry.state === "failed" && !entry.text) dropEntry(thread, id);
  await busily(thread, (signal) => answer(thread, parentId, signal, wishOf(entry) ?? wishes.get(parentId)));
}

/** A picture that is made again is a picture again. */
function wishOf({ pictures: [painted] }: Entry): PaintWish | undefined {
  if (!painted) return undefined;
  const { model, width, height, heat_maps: maps } = painted;
  return { wanted: true, model, size: `${width}x${height}`, heat_maps: maps.length > 0 };
}

/** Take back a message that could not be sent. */
export function discard(thread: ThreadStore, id: string): void {
  dropUnsent(id);
  dropEntry(thread, id);
  if (thread.value.messages.size) return;
  forget(thread.value.id);
  // An empty conversation that cannot be deleted now stays in the list, and can be deleted there.
  if (thread.value.isStored) void deleteConversation(thread.value.id).catch((error: unknown) => void failureOf(error));
}

/** Show the branch of `id`, where it was left. */
export function showBranch(thread: ThreadStore, id: string): void {
  const leaf = newestBelow(thread.value.messages, id);
  thread.set({ leaf });
  const stored = storedAtOrAbove(thread.value.messages, leaf);
  // If the server cannot keep which branch is shown, the branch is still shown here.
  if (stored) void patchConversation(thread.value.id, { leaf: stored }).catch((error: unknown) => void failureOf(error));
}

/** Send what could not be sent, now that the server is back. Answers are made for the conversation on the screen. */
export async function sendWaiting(): Promise<void> {
  const shown = current.value.thread;
  const isShown = (id: string) => shown !== null && branchOf(shown.value.messages, shown.value.leaf).some((one) => one.id === id);
  for (const unsent of allUnsent()) {
    const thread = threads.get(unsent.conversation);
    const entry = thread?.value.messages.get(unsent.id);
    if (thread && entry) {
      if (entry.state !== "unsent" || !["offline", "interrupted", "key"].includes(entry.failure?.kind ?? "")) continue;
      if (thread === shown && isShown(entry.id)) await again(thread, entry.id);
      else await store(thread, entry);
      continue;
    }
    try {
      await createConversation(unsent.conversation, unsent.title, unsent.model ?? null);
      const attachments = unsent.attachments.map((one) => one.id);
      await addMessage(unsent.conversation, { id: unsent.id, parent_id: unsent.parent_id, text: unsent.text, attachments });
      dropUnsent(unsent.id);
      tellOthers(unsent.conversation);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.kind === "offline") return; // it stays in the outbox
    }
  }
}
