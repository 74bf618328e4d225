// Runs beside the page, in the audio thread: the microphone's samples as 16-bit integers at the rate of the wire.

const RATE = 24_000;
const PIECE = 960; // samples of one message: 40 ms

declare const sampleRate: number; // of the microphone, as the browser plays it
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}

class Capture extends AudioWorkletProcessor {
  readonly #step = sampleRate / RATE; // samples that become one
  #sum = 0;
  #share = 0; // of the step that is in the sum
  #piece = new Int16Array(PIECE);
  #length = 0;

  /** Each sample of the wire is the mean of those that lie in its time. */
  process([input]: Float32Array[][]): boolean {
    for (const sample of input?.[0] ?? []) {
      let left = 1;
      while (this.#share + left >= this.#step) {
        const part = this.#step - this.#share;
        this.#put((this.#sum + sample * part) / this.#step);
        left -= part;
        this.#sum = 0;
        this.#share = 0;
      }
      this.#sum += sample * left;
      this.#share += left;
    }
    return true;
  }

  #put(value: number): void {
    this.#piece[this.#length++] = Math.max(-1, Math.min(1, value)) * 0x7fff;
    if (this.#length < PIECE) return;
    const { buffer } = this.#piece;
    this.port.postMessage(buffer, [buffer]);
    this.#piece = new Int16Array(PIECE);
    this.#length = 0;
  }
}

registerProcessor("capture", Capture);
