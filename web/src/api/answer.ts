// An answer as it is written: chunks of chat.completion.chunk, until the one that says why it ended.

import { answerPath } from "./calls";
import { ApiError, request } from "./client";
import { readEvents } from "./sse";

export interface AnswerRequest {
  parent_id: string; // the message to answer
  id: string; // of the answer
}

export interface AnswerEvents {
  onText(text: string): void;
  onNotices(notices: string[]): void;
}

interface Chunk {
  error?: { message?: string; code?: string | null };
  choices?: { delta?: { content?: string | null }; finish_reason?: string | null }[];
  localgpt?: { notices?: string[] };
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
