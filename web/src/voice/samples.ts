// Sound as the wire carries it: 16 bits, little endian, 24 kHz, in base64.

export const RATE = 24_000;

export function toBase64(buffer: ArrayBuffer): string {
  let text = "";
  for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
  return btoa(text);
}

export function fromBase64(text: string): Float32Array<ArrayBuffer> {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length >> 1 }, (_, place) => view.getInt16(2 * place, true) / 0x8000);
}

/** From 0 to 1, as an ear takes it: 0 at -60 dB of full scale. */
export function loudness(samples: ArrayLike<number>, fullScale: number): number {
  let sum = 0;
  for (let place = 0; place < samples.length; place++) sum += (samples[place]! / fullScale) ** 2;
  const decibels = 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-12);
  return Math.max(0, Math.min(1, 1 + decibels / 60));
}
