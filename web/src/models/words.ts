// What models do and need, in words.

import type { ModelJob, OpenModel } from "../api/types";
import { fill, type Words } from "../i18n";
import { bytes } from "../ui/format";

export const JOBS: ModelJob[] = ["chat", "vision", "paint", "listen", "speak", "detect", "embed"];

export const jobWords = (t: Words): Record<ModelJob, string> => ({
  chat: t.jobChat,
  vision: t.jobVision,
  paint: t.jobPaint,
  listen: t.jobListen,
  speak: t.jobSpeak,
  detect: t.jobDetect,
  embed: t.jobEmbed,
});

const BITS: Record<string, number> = { fp16: 16, int8: 8, int4: 4 };

/** Whether a model fits this machine, and by how much not; null where that is not known. */
export function fitWords(model: OpenModel, t: Words): { text: string; isGood: boolean } | null {
  if (model.fits)
    return {
      text: fill(t.modelFits, { bits: BITS[model.fits] ?? model.fits, size: bytes(model.memory_bytes[model.fits] ?? 0) }),
      isGood: true,
    };
  if (model.lacking_bytes) return { text: fill(t.modelTooLarge, { size: bytes(model.lacking_bytes) }), isGood: false };
  return null;
}
