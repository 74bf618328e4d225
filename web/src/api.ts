// The server, through the same OpenAI wire that every other client uses.

import { loadKey } from "./prefs";
import { readEvents } from "./sse";
import type { Turn } from "./store";

export interface ServedModel {
  id: string;
  tasks: string[];
  num_params: number;
  weight_bytes: number;
  context_len: number;
  licence: string;
}

export interface Status {
  ready: boolean;
  version: string;
  device: string;
  dtype: string;
  models: ServedModel[];
  resident_bytes: number;
  num_running: number;
  num_waiting: number;
  max_batch_size: number;
  notices: string[];
}

/** `kind` says what the page can do about it: ask for the key, say how to start the server, or show the message. */
export class ApiError extends Error {
  constructor(
    readonly kind: "key" | "offline" | "interrupted" | "refused",
    message = "",
  ) {
    super(message);
  }
}

export interface AnswerEvents {
  onText(text: string): void;
  onNotices(notices: string[]): void;
}

const MODEL = "local/multimodal-base";

function headers(): Record<string, string> {
  const key = loadKey();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers: headers(), credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError("offline");
  }
  if (response.ok) return response;
  const body: { error?: { message?: string } } = await response.json().catch(() => ({}));
  throw new ApiError(response.status === 401 ? "key" : "refused", body.error?.message ?? `HTTP ${response.status}`);
}

export async function fetchStatus(signal: AbortSignal): Promise<Status> {
  return (await request("/v1/status", { signal })).json() as Promise<Status>;
}

function wireMessage(turn: Turn): unknown {
  if (!turn.images?.length) return { role: turn.role, content: turn.text };
  return {
    role: turn.role,
    content: [
      ...turn.images.map((url) => ({ type: "image_url", image_url: { url } })),
      ...(turn.text ? [{ type: "text", text: turn.text }] : []),
    ],
  };
}

/** The turns worth sending: an answer that failed or is empty is left out, so is a user turn left with nothing. */
function wireMessages(turns: Turn[]): unknown[] {
  return turns.filter((turn) => turn.text.trim() || turn.images?.length).map(wireMessage);
}

interface Chunk {
  error?: { message?: string };
  choices?: { delta?: { content?: string }; finish_reason?: "stop" | "length" | null }[];
  localgpt?: { notices?: string[] };
}

/** Stream an answer; resolves with why it ended. */
export async function answer(turns: Turn[], events: AnswerEvents, signal: AbortSignal): Promise<"stop" | "length"> {
  const response = await request("/v1/chat/completions", {
    method: "POST",
    body: JSON.stringify({ model: MODEL, messages: wireMessages(turns), stream: true }),
    signal,
  });
  let ending: "stop" | "length" | null = null;
  try {
    for await (const data of readEvents(response.body!)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new ApiError("refused", chunk.error.message ?? "");
      if (chunk.localgpt?.notices?.length) events.onNotices(chunk.localgpt.notices);
      const choice = chunk.choices?.[0];
      if (choice?.delta?.content) events.onText(choice.delta.content);
      ending = choice?.finish_reason ?? ending;
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
    throw new ApiError("interrupted");
  }
  if (ending === null) throw new ApiError("interrupted");
  return ending;
}
