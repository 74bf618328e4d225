// The stock client of @openai/agents against a server: a turn, an interruption, a function. Prints what it saw.
// Usage: node talk.mjs URL SPEECH.pcm (16 bits, 24 kHz: silence, speech, silence)

import { readFileSync } from "node:fs";
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";

const [url, file] = process.argv.slice(2);
const speech = readFileSync(file);
const PIECE = 4800; // 100 ms
const seen = { errors: [], called: [], interrupted: 0, audio: 0, turns: [] };

const weather = tool({
  name: "weather",
  description: "The weather of a place.",
  parameters: z.object({ place: z.string() }),
  execute: ({ place }) => {
    seen.called.push(place);
    return "rain";
  },
});
const agent = new RealtimeAgent({ name: "tester", instructions: "Be brief.", tools: [weather] });
const transport = new OpenAIRealtimeWebSocket({ useInsecureApiKey: true });
const session = new RealtimeSession(agent, { transport, model: "gpt-realtime", tracingDisabled: true });

session.on("error", (event) => seen.errors.push(JSON.stringify(event.error?.error ?? event.error ?? event)));
session.on("audio", () => (seen.audio += 1));
session.on("audio_interrupted", () => (seen.interrupted += 1));

/** The next event of the transport that fits. */
const next = (kind, fits = () => true) =>
  new Promise((resolve) => {
    const look = (event) => {
      if (event.type !== kind || !fits(event)) return;
      transport.off("*", look);
      resolve(event);
    };
    transport.on("*", look);
  });
const speak = () => {
  for (let begin = 0; begin < speech.length; begin += PIECE) {
    const piece = speech.subarray(begin, begin + PIECE);
    session.sendAudio(piece.buffer.slice(piece.byteOffset, piece.byteOffset + piece.length));
  }
};
const said = () =>
  session.history
    .filter((item) => item.type === "message")
    .map((item) => [item.role, item.content.map((part) => part.transcript ?? part.text ?? "").join("")]);

await session.connect({ apiKey: "unused", url });

let done = next("response.done");
speak();
seen.turns.push((await done).response.status);

const sound = next("response.output_audio.delta");
speak();
await sound;
done = next("response.done", (event) => event.response.status === "cancelled");
const truncated = next("conversation.item.truncated");
const retrieved = next("conversation.item.retrieved", (event) => event.item.role === "assistant");
const answered = next(
  "response.done",
  ({ response }) => response.status === "completed" && response.output.some((item) => item.type === "message"),
);
speak(); // into the answer; what follows it is the function
seen.turns.push((await done).response.status_details.reason);
await truncated;
await retrieved;
seen.turns.push((await answered).response.status);

const typed = next("response.done");
session.sendMessage("Goodbye.");
seen.turns.push((await typed).response.status);
await new Promise((resolve) => setImmediate(resolve)); // the history takes the last event
seen.history = said();
session.close();
console.log(JSON.stringify(seen));
