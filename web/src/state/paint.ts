// What the next picture is to be like, and which models can paint it.

import type { PaintedPicture, PaintWish, ServedModel } from "../api/types";
import { server } from "./session";
import { Store, useSelected } from "./store";

interface Brush {
  isOn: boolean; // what is sent is painted
  size: string;
  seed: number | null; // null: a fresh one
  heatMaps: boolean;
  model: string | null; // null: the one that paints here
}

export const brush = new Store<Brush>({ isOn: false, size: "auto", seed: null, heatMaps: false, model: null });

export const MAX_SEED = 2 ** 53 - 1;
export const SIZES = ["auto", "512x512", "768x768", "1024x1024"];

const canPaint = (model: ServedModel) => model.tasks.includes("paint") && !model.upstream;

export const usePainters = () => useSelected(server, ({ status }) => status)?.models.filter(canPaint) ?? [];

/** What goes with the message that is being sent; the seed is for this picture alone. */
export function takeWish(): PaintWish | undefined {
  const { isOn, size, seed, heatMaps, model } = brush.value;
  if (!isOn) return undefined;
  brush.set({ seed: null });
  return { wanted: true, size, heat_maps: heatMaps, ...(seed === null ? {} : { seed }), ...(model ? { model } : {}) };
}

/** What paints a picture again but for its prompt, as far as it can be chosen here. */
export function wishFor({ width, height, seed, model }: PaintedPicture): Partial<Brush> {
  const size = `${width}x${height}`;
  const isHere = server.value.status?.models.some((one) => canPaint(one) && one.id === model);
  return { seed, size: SIZES.includes(size) ? size : "auto", model: isHere ? model : null };
}
