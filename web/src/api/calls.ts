// One function per call of the page's own API.

import { ask, request } from "./client";
import type {
  Attachment,
  Conversation,
  DataFigures,
  GalleryPicture,
  Job,
  KeyEntry,
  Limits,
  Memory,
  Message,
  OpenModels,
  Page,
  Role,
  Session,
  Settings,
  Status,
} from "./types";

const enc = encodeURIComponent;
const conversationPath = (id: string) => `/api/conversations/${enc(id)}`;

export const getSession = () => ask<Session>("GET", "/api/session");
export const signIn = (key: string) => ask<Session>("POST", "/api/session", { key });
export const signOut = () => request("DELETE", "/api/session");

export const getMemory = (signal?: AbortSignal) => ask<Memory>("GET", "/v1/memory", undefined, signal);
export const getStatus = (signal?: AbortSignal) => ask<Status>("GET", "/v1/status", undefined, signal);

export function listConversations(
  options: { query?: string; before?: string | null; limit?: number },
  signal?: AbortSignal,
): Promise<Page<Conversation>> {
  const params = new URLSearchParams();
  if (options.query) params.set("query", options.query);
  if (options.before) params.set("before", options.before);
  if (options.limit) params.set("limit", String(options.limit));
  return ask("GET", `/api/conversations?${params}`, undefined, signal);
}

export const createConversation = (id: string, title: string, model: string | null) =>
  ask<Conversation>("POST", "/api/conversations", { id, title, model });
export const getConversation = (id: string, signal?: AbortSignal) =>
  ask<Conversation & { messages: Message[] }>("GET", conversationPath(id), undefined, signal);
export const patchConversation = (id: string, patch: { title?: string; leaf?: string; model?: string }) =>
  ask<Conversation>("PATCH", conversationPath(id), patch);
/** `keepalive` lets the request outlive the page. */
export const deleteConversation = (id: string, keepalive = false) =>
  request("DELETE", conversationPath(id), undefined, { keepalive });
export const exportPath = (id: string, format: "markdown" | "json") =>
  `${conversationPath(id)}/export?format=${format}`;
export const exportConversation = (id: string) => ask<unknown>("GET", exportPath(id, "json"));

export function listPictures(before: string | null): Promise<Page<GalleryPicture>> {
  const params = new URLSearchParams({ limit: "24" });
  if (before) params.set("before", before);
  return ask("GET", `/api/pictures?${params}`);
}

export interface NewMessage {
  id: string;
  parent_id: string | null;
  text: string;
  attachments: string[];
  role?: "assistant"; // what older versions of the page kept in the browser
}
export const addMessage = (conversationId: string, message: NewMessage) =>
  ask<Message>("POST", `${conversationPath(conversationId)}/messages`, message);
export const answerPath = (conversationId: string) => `${conversationPath(conversationId)}/answer`;

export const attachmentPath = (attachment: Attachment) => `/api/attachments/${enc(attachment.id)}`;

export const getSettings = () => ask<Settings>("GET", "/api/settings");
export const putSettings = (patch: Partial<Settings>) => ask<Settings>("PUT", "/api/settings", patch);

export const listKeys = () => ask<{ data: KeyEntry[] }>("GET", "/api/keys");
export const createKey = (name: string, role: Role, limits: Limits, takeOver: boolean) =>
  ask<KeyEntry & { key: string }>("POST", "/api/keys", { name, role, limits, take_over: takeOver });
export const revokeKey = (id: string) => request("DELETE", `/api/keys/${enc(id)}`);

/** Every name that may be asked for, aliases too. */
export const listNames = () => ask<{ data: { id: string }[] }>("GET", "/v1/models");

export const getOpenModels = () => ask<OpenModels>("GET", "/api/models");
export const pullModel = (model: string) => ask<Job>("POST", "/api/models/pull", { model });
export const verifyModel = (model: string) => ask<Job>("POST", "/api/models/verify", { model });
export const cancelWork = (model: string) => ask<Job>("POST", "/api/models/cancel", { model });
export const removeModel = (model: string) =>
  ask<{ model: string; bytes: number }>("DELETE", `/api/models/${model.split("/").map(enc).join("/")}`);
export const watchModels = (signal: AbortSignal) => request("GET", "/api/models/events", undefined, { signal });

export const getData = () => ask<DataFigures>("GET", "/api/data");
/** Conversations, pictures and kept responses; settings and keys stay. */
export const deleteData = () => request("DELETE", "/api/data");
