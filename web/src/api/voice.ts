// What is said and heard: both by this page's own server. No model is named; it takes the one that can.

import { request } from "./client";

/** What is said in a recording. */
export async function transcribe(recording: Blob, signal: AbortSignal): Promise<string> {
  const body = new FormData();
  body.append("file", recording, "dictation");
  const response = await request("POST", "/v1/audio/transcriptions", undefined, { body, signal });
  return ((await response.json()) as { text: string }).text.trim();
}

export const SPEECH_RATE = 24_000; // Hz

/** A text as samples of 16 bits, as they are made. */
export async function speak(text: string, signal: AbortSignal): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const body = JSON.stringify({ input: text, response_format: "pcm" });
  const headers = { "Content-Type": "application/json" };
  const response = await request("POST", "/v1/audio/speech", undefined, { body, headers, signal });
  return response.body!.getReader();
}
