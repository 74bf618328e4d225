// What is being written: one draft per conversation, kept until it is sent. Pictures are uploaded when they are picked.

import { uploadPicture } from "../api/upload";
import type { Attachment } from "../api/types";
import { loadDraft, newId, saveDraft } from "./local";
import { MAX_PICTURES, PictureError, prepare } from "./pictures";
import { pollStatus } from "./session";
import { Store } from "./store";
import { failureOf, type Failure } from "./thread";

export interface Picture {
  key: string;
  name: string;
  url: string | null; // null: this browser cannot draw it
  sent: number; // 0 to 1
  attachment: Attachment | null;
  failure: Failure | null;
}

export type Problem = { reason: "notAPicture" | "tooLarge"; name: string } | { reason: "tooMany" };

interface Composer {
  conversation: string | null;
  text: string;
  pictures: Picture[];
  problem: Problem | null;
}

export const composer = new Store<Composer>({ conversation: null, text: "", pictures: [], problem: null });
const waiting = new Map<string, Blob>(); // pictures whose upload can be tried again

const fromSaved = (attachment: Attachment): Picture => ({
  key: newId(),
  name: attachment.name ?? "",
  url: null,
  sent: 1,
  attachment,
  failure: null,
});

function keep(): void {
  const { conversation, text, pictures } = composer.value;
  saveDraft(conversation, { text, attachments: pictures.flatMap((one) => one.attachment ?? []) });
}

/** Go on with the draft of a conversation. */
export function openDraft(conversation: string | null): void {
  if (conversation === composer.value.conversation && (composer.value.text || composer.value.pictures.length)) return;
  const { text, attachments } = loadDraft(conversation);
  composer.set({ conversation, text, pictures: attachments.map(fromSaved), problem: null });
}

export function write(text: string): void {
  composer.set({ text });
  keep();
}

/** The draft has been handed over. */
export function clearDraft(): void {
  for (const { url } of composer.value.pictures) if (url) URL.revokeObjectURL(url);
  composer.set({ text: "", pictures: [], problem: null });
  keep();
}

function patchPicture(key: string, patch: Partial<Picture>): void {
  composer.set({ pictures: composer.value.pictures.map((one) => (one.key === key ? { ...one, ...patch } : one)) });
}

const uploads = new Map<string, AbortController>();

async function upload(key: string, name: string): Promise<void> {
  const controller = new AbortController();
  uploads.set(key, controller);
  patchPicture(key, { failure: null, sent: 0 });
  try {
    const attachment = await uploadPicture(
      waiting.get(key)!,
      name,
      (sent) => patchPicture(key, { sent }),
      controller.signal,
    );
    patchPicture(key, { attachment, sent: 1 });
    waiting.delete(key);
    keep();
  } catch (error) {
    if (controller.signal.aborted) return;
    const failure = failureOf(error);
    patchPicture(key, { failure });
    if (failure.kind === "offline") void pollStatus();
  } finally {
    uploads.delete(key);
  }
}

export async function addFiles(files: File[]): Promise<void> {
  const room = MAX_PICTURES - composer.value.pictures.length;
  composer.set({ problem: files.length > room ? { reason: "tooMany" } : null });
  await Promise.all(
    files.slice(0, Math.max(0, room)).map(async (file) => {
      try {
        const { blob, canShow } = await prepare(file);
        const key = newId();
        waiting.set(key, blob);
        const picture: Picture = {
          key,
          name: file.name,
          url: canShow ? URL.createObjectURL(blob) : null,
          sent: 0,
          attachment: null,
          failure: null,
        };
        composer.set({ pictures: [...composer.value.pictures, picture].slice(0, MAX_PICTURES) });
        await upload(key, file.name);
      } catch (error) {
        if (!(error instanceof PictureError)) throw error;
        composer.set({ problem: { reason: error.reason, name: error.fileName } });
      }
    }),
  );
}

export function removePicture(key: string): void {
  const gone = composer.value.pictures.find((one) => one.key === key);
  if (gone?.url) URL.revokeObjectURL(gone.url);
  uploads.get(key)?.abort();
  waiting.delete(key);
  composer.set({ pictures: composer.value.pictures.filter((one) => one.key !== key), problem: null });
  keep();
}

export function retryPicture(key: string): void {
  const picture = composer.value.pictures.find((one) => one.key === key);
  if (picture && waiting.has(key)) void upload(key, picture.name);
}

export const hasWaitingPictures = () => composer.value.pictures.some((one) => one.failure?.kind === "offline");

/** Pictures that failed because the server was away are sent when it is back. */
export function sendWaitingPictures(): void {
  for (const { key, failure } of composer.value.pictures) if (failure?.kind === "offline") retryPicture(key);
}
