// Who is here, what they chose, and how the server is.

import { getSession, getSettings, getStatus, putSettings, signIn as postKey, signOut as endSession } from "../api/calls";
import { ApiError, whenKeyIsNeeded } from "../api/client";
import type { Language, Session, Settings, Status, Theme } from "../api/types";
import { browserLanguage, forgetTyped, loadLanguage, loadTheme, read, write } from "./local";
import { Store } from "./store";
import { tellSignedOut } from "./sync";

export type Connection = "loading" | "ready" | "offline" | "locked";

export const DEFAULT_SETTINGS: Settings = {
  language: null,
  theme: null,
  system_prompt: "",
  temperature: null,
  max_tokens: null,
  show_tour: false,
  model: null,
};

export const session = new Store<{ session: Session | null; isKnown: boolean; asksKey: boolean }>({
  session: null,
  isKnown: false,
  asksKey: false,
});

export const settings = new Store<{ saved: Settings; isLoaded: boolean; language: Language; theme: Theme | null }>({
  saved: DEFAULT_SETTINGS,
  isLoaded: false,
  language: loadLanguage() ?? browserLanguage(),
  theme: loadTheme(),
});

export const server = new Store<{ connection: Connection; status: Status | null }>({
  connection: "loading",
  status: null,
});

function take(saved: Settings): void {
  write("language", saved.language);
  write("theme", saved.theme);
  settings.set({
    saved,
    isLoaded: true,
    language: saved.language ?? browserLanguage(),
    theme: saved.theme,
  });
}

/** Change settings; what is seen changes at once, and goes back if the server refuses. */
export async function changeSettings(patch: Partial<Settings>): Promise<void> {
  const before = settings.value.saved;
  take({ ...before, ...patch });
  try {
    take(await putSettings(patch));
  } catch (error) {
    // Looks are kept in this browser all the same; values that govern answers are not pretended to be stored.
    take({ ...before, language: settings.value.saved.language, theme: settings.value.saved.theme });
    throw error;
  }
}

/** Find out who is here. A key that older versions kept in this browser is turned into a session. */
export async function openSession(): Promise<boolean> {
  let now = await getSession();
  const oldKey = read("key");
  if (oldKey !== null) {
    if (now.needs_key && !now.signed_in) now = await postKey(oldKey).catch(() => now);
    write("key", null);
  }
  const isIn = !now.needs_key || now.signed_in;
  if (isIn) write("who", now.name ?? "");
  session.set({ session: now, isKnown: true, asksKey: !isIn });
  return isIn;
}

export async function loadSettings(): Promise<void> {
  take(await getSettings());
}

/** Sign in; resolves with whether the page can go on as it is. */
export async function signIn(key: string): Promise<boolean> {
  const before = read("who");
  const now = await postKey(key);
  write("who", now.name ?? "");
  if (before !== null && before !== (now.name ?? "")) {
    // Somebody else: nothing of what was typed or shown before may reach them, or be sent in their name.
    forgetTyped();
    location.reload();
    return false;
  }
  session.set({ session: now, isKnown: true, asksKey: false });
  return true;
}

export async function signOut(): Promise<void> {
  await endSession();
  forgetTyped();
  write("who", null);
  tellSignedOut();
  location.reload(); // nothing of what was on the screen stays in memory
}

const FAST_MS = 1500; // until ready
const SLOW_MS = 10_000;
const WATCHED_MS = 2000; // while the panel is open
let timer = 0;
let isWatched = false;
let isAsking = false;

/** Ask the server how it is: often until it is ready, then rarely, never while the page is hidden. */
export async function pollStatus(): Promise<void> {
  clearTimeout(timer);
  if (document.hidden || isAsking || session.value.asksKey) return;
  isAsking = true;
  try {
    const status = await getStatus();
    server.set({ status, connection: status.ready ? "ready" : "loading" });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    server.set({ connection: error.kind === "key" ? "locked" : error.kind === "busy" ? "loading" : "offline" });
  } finally {
    isAsking = false;
    const pause = isWatched ? WATCHED_MS : server.value.connection === "ready" ? SLOW_MS : FAST_MS;
    timer = window.setTimeout(() => void pollStatus(), pause);
  }
}

export function watchStatus(isOpen: boolean): void {
  isWatched = isOpen;
  if (isOpen) void pollStatus();
}

whenKeyIsNeeded(() => session.set({ asksKey: true }));
document.addEventListener("visibilitychange", () => void pollStatus());
addEventListener("online", () => void pollStatus());
