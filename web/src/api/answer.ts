// An answer as it is written: chunks of chat.completion.chunk, until the one that says why it ended.

import { answerPath } from "./calls";
import { ApiError, request } from "./client";
import { readEvents } from "./sse";
import type { PaintWish, StageName } from "./types";

export interface AnswerRequest {
  parent_id: string; // the message to answer
  id: string; // of the answer
  paint?: PaintWish;
}

export interface Preview {
  stage: StageName;
  url: string;
}

export interface AnswerEvents {
  onText(text: string): void;
  onNotices(notices: string[]): void;
  onProgress(done: number, total: number | null): void;
  onPreview(preview: Preview): void;
  onPictures(): void; // there are some, as the conversation will tell
}

interface Chunk {
  error?: { message?: string; code?: string | null };
  choices?: { delta?: { content?: string | null; images?: unknown[] }; finish_reason?: string | null }[];
  localgpt?: { notices?: string[]; progress?: { done: number; total?: number | null }; preview?: Preview };
}

/** Stream an answer; resolves with why it ended. */
export async function streamAnswer(
  conversationId: string,
  wanted: AnswerRequest,
  events: AnswerEvents,
  signal: AbortSignal,
): Promise<string> {
  const response = await request("POST", answerPath(conversationId), { ...wanted, stream: true }, { signal });
  let ending: string | null = null;
  try {
    for await (const data of readEvents(response.body!)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new ApiError("refused", chunk.error.message ?? "", null, chunk.error.code ?? null);
      if (chunk.localgpt?.notices?.length) events.onNotices(chunk.localgpt.notices);
      if (chunk.localgpt?.progress) events.onProgress(chunk.localgpt.progress.done, chunk.localgpt.progress.total ?? null);
      if (chunk.localgpt?.preview) events.onPreview(chunk.localgpt.preview);
      const choice = chunk.choices?.[0];
      if (choice?.delta?.images?.length) events.onPictures();
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
