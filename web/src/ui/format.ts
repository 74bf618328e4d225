// Numbers and dates as they are written in the reader's language.

import type { Language } from "../api/types";

const locale = (language: Language) => (language === "zh" ? "zh-CN" : "en-GB");

export function bytes(count: number): string {
  if (count >= 2 ** 30) return `${(count / 2 ** 30).toFixed(1)} GiB`;
  if (count >= 2 ** 20) return `${Math.round(count / 2 ** 20)} MiB`;
  return `${Math.max(count > 0 ? 1 : 0, Math.round(count / 2 ** 10))} KiB`;
}

export const parameters = (count: number) =>
  count >= 1e9 ? `${(count / 1e9).toFixed(1)} B` : count >= 1e6 ? `${Math.round(count / 1e6)} M` : `${Math.round(count / 1e3)} K`;

export const number = (value: number, language: Language) => value.toLocaleString(locale(language));

export const date = (seconds: number, language: Language) =>
  new Date(1000 * seconds).toLocaleDateString(locale(language), { year: "numeric", month: "short", day: "numeric" });

export const month = (seconds: number, language: Language) =>
  new Date(1000 * seconds).toLocaleDateString(locale(language), { year: "numeric", month: "long" });

export const deviceName = (device: string) =>
  device.startsWith("cuda") ? "GPU" : device === "mps" ? "Apple GPU" : device.toUpperCase();
