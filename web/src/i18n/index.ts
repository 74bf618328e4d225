// The words of the chosen language, for every component.

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Language } from "../api/types";
import { en, type Words } from "./en";
import { zh } from "./zh";

export type { Words };
export const words: Record<Language, Words> = { en, zh };
export const WordsContext = createContext<Words>(en);
export const useWords = () => useContext(WordsContext);

/** Put values into the `{name}` slots of a text. */
export function fill(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (slot, name: string) => String(values[name] ?? slot));
}

export const htmlLang = (language: Language) => (language === "zh" ? "zh-Hans" : "en");
export const isRemote = !/^(localhost|127\.[\d.]+|\[::1\])$/.test(location.hostname);
