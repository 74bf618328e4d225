// Plays an answer while it comes, and knows how much of it was heard.

import { fromBase64, loudness, RATE } from "./samples";

interface Piece {
  source: AudioBufferSourceNode;
  from: number; // of the context's clock, in seconds
  seconds: number;
  loudness: number;
  words: string; // that begin with it, and are not told yet
}

export class Player {
  #pieces: Piece[] = [];
  #item: string | null = null;
  #before = 0; // seconds of the item that were heard and are forgotten

  constructor(
    readonly context: AudioContext,
    readonly onWords: (item: string, words: string) => void,
    readonly onDrained: () => void,
  ) {}

  get isPlaying(): boolean {
    return this.#pieces.length > 0;
  }

  /** How loud it is now, from 0 to 1. */
  get level(): number {
    const now = this.context.currentTime;
    return this.#pieces.find((piece) => piece.from <= now && now < piece.from + piece.seconds)?.loudness ?? 0;
  }

  /** Play more of an item; its words are told when they are heard. */
  play(item: string, base64: string, words: string): void {
    if (item !== this.#item) {
      this.#item = item;
      this.#before = 0;
    }
    const samples = fromBase64(base64);
    if (!samples.length) return;
    const buffer = this.context.createBuffer(1, samples.length, RATE);
    buffer.copyToChannel(samples, 0);
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    const last = this.#pieces.at(-1);
    const from = Math.max(this.context.currentTime, last ? last.from + last.seconds : 0);
    const piece = { source, from, seconds: buffer.duration, loudness: loudness(samples, 1), words };
    this.#pieces.push(piece);
    source.onended = () => this.#ended(piece);
    source.start(from);
  }

  /** Tell the words that have begun to be heard; called for every picture of the page. */
  tick(): void {
    const now = this.context.currentTime;
    for (const piece of this.#pieces) if (piece.from <= now) this.#tell(piece);
  }

  /** Fall silent: which item was interrupted, and how many milliseconds of it were heard; null where none was. */
  stop(): { item: string; heardMs: number } | null {
    const item = this.#item;
    if (item === null || !this.isPlaying) return null;
    const now = this.context.currentTime;
    const heard = this.#pieces.reduce(
      (sum, piece) => sum + Math.max(0, Math.min(piece.seconds, now - piece.from)),
      this.#before,
    );
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#item = null;
    for (const piece of pieces) piece.source.stop();
    return { item, heardMs: Math.floor(1000 * heard) };
  }

  #tell(piece: Piece): void {
    if (piece.words) this.onWords(this.#item!, piece.words);
    piece.words = "";
  }

  #ended(piece: Piece): void {
    if (!this.#pieces.includes(piece)) return; // it was stopped
    this.#tell(piece);
    this.#pieces = this.#pieces.filter((one) => one !== piece);
    this.#before += piece.seconds;
    if (!this.isPlaying) this.onDrained();
  }
}
