// What this browser remembers about how the page looks, and the key. All in localStorage, all optional.

import type { Language } from "./i18n";

export type Theme = "light" | "dark";

const LANGUAGE = "localgpt.language";
const THEME = "localgpt.theme";
const KEY = "localgpt.key";

export function read(name: string): string | null {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // storage can be switched off; the page works without
  }
}

export function write(name: string, value: string | null): boolean {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
    return true;
  } catch {
    return false;
  }
}

export function loadLanguage(): Language {
  const saved = read(LANGUAGE);
  if (saved === "en" || saved === "zh") return saved;
  return navigator.languages.some((tag) => /^(zh|en)\b/i.test(tag))
    ? (navigator.languages.find((tag) => /^(zh|en)\b/i.test(tag))!.slice(0, 2).toLowerCase() as Language)
    : "en";
}

export const saveLanguage = (language: Language) => write(LANGUAGE, language);

export function systemTheme(): Theme {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** The chosen theme, or null to follow the system. */
export function loadTheme(): Theme | null {
  const saved = read(THEME);
  return saved === "light" || saved === "dark" ? saved : null;
}

export function saveTheme(theme: Theme): void {
  write(THEME, theme === systemTheme() ? null : theme); // choosing the system's own is following it again
}

export const loadKey = () => read(KEY);
export const saveKey = (key: string | null) => write(KEY, key);
