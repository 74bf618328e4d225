// Reading answers aloud: samples are played as the server makes them.

import { SPEECH_RATE, speak } from "../api/voice";
import { ApiError } from "../api/client";
import { Store } from "./store";

export const reading = new Store<{ id: string | null; isHeard: boolean }>({ id: null, isHeard: false });

const MOST_AHEAD_S = 30; // of samples that wait to be played; the rest stays with the server
const LATE_S = 0.05; // from the first samples to the first sound
const CHECK_MS = 250;

let current: AbortController | null = null;

/** Stop reading; whether anything was read. */
export function stopReading(): boolean {
  const was = current !== null;
  current?.abort();
  current = null;
  if (was) reading.set({ id: null, isHeard: false });
  return was;
}

/** Read a message aloud, instead of what is being read; resolves at its end. Call it from a click. */
export async function readAloud(id: string, text: string): Promise<void> {
  stopReading();
  const mine = (current = new AbortController());
  const player = new Player(); // within the click, as browsers want it
  reading.set({ id, isHeard: false });
  try {
    const samples = await speak(text, mine.signal);
    for (;;) {
      const { value, done } = await samples.read();
      if (done) break;
      player.feed(value);
      if (!reading.value.isHeard) reading.set({ isHeard: true });
      while (player.ahead > MOST_AHEAD_S) await pause(mine.signal);
    }
    while (player.ahead > 0) await pause(mine.signal);
  } catch (error) {
    if (mine.signal.aborted) return;
    throw error instanceof ApiError ? error : new ApiError("interrupted");
  } finally {
    player.close();
    if (current === mine) stopReading();
  }
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const give = () => (clearTimeout(timer), reject(signal.reason));
    const timer = setTimeout(() => (signal.removeEventListener("abort", give), resolve()), CHECK_MS);
    signal.addEventListener("abort", give, { once: true });
  });
}

/** Plays samples of 16 bits one after the other, however they are cut. */
class Player {
  private readonly context = new AudioContext();
  private next = 0; // when the samples that come next begin, by the context's clock
  private rest = new Uint8Array(0); // half a sample

  /** Seconds that are still to be heard. */
  get ahead(): number {
    return this.next - this.context.currentTime;
  }

  feed(bytes: Uint8Array): void {
    const all = new Uint8Array(this.rest.length + bytes.length);
    all.set(this.rest);
    all.set(bytes, this.rest.length);
    const count = all.length >> 1;
    this.rest = all.slice(2 * count);
    if (!count) return;
    const view = new DataView(all.buffer);
    const buffer = this.context.createBuffer(1, count, SPEECH_RATE);
    const samples = buffer.getChannelData(0);
    for (let at = 0; at < count; at++) samples[at] = view.getInt16(2 * at, true) / 32768;
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    const start = Math.max(this.next, this.context.currentTime + LATE_S);
    source.start(start);
    this.next = start + count / SPEECH_RATE;
  }

  close(): void {
    void this.context.close();
  }
}

/** What of an answer is read aloud: its words, without code, tables' lines and marks. */
export function spokenText(markdown: string): string {
  return markdown
    .replace(/^(`{3,}|~{3,})[\s\S]*?(^\1|(?![\s\S]))/gm, "")
    .replace(/\$\$[\s\S]*?\$\$|\\\[[\s\S]*?\\\]/g, "")
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/<[^>]+>|https?:\/\/\S+/g, "")
    .replace(/^\s{0,3}(#{1,6}|>|[-*+]|\d+\.)\s+/gm, "")
    .replace(/^[\s|:-]+$/gm, "")
    .replace(/[*_`~|]+/g, " ")
    .replace(/[ \t]+/g, " ")
    .trim();
}
