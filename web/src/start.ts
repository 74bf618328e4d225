// What happens when the page opens: who is here, their settings and conversations, and what was left unsent.

import { ApiError } from "./api/client";
import { fill, words } from "./i18n";
import { current, load, reloadChanged, sendWaiting } from "./state/chat";
import { hasWaitingPictures, sendWaitingPictures } from "./state/composer";
import { importOldConversations } from "./state/legacy";
import { list, refreshList, setBusy } from "./state/list";
import { allUnsent } from "./state/local";
import { loadSettings, openSession, pollStatus, server, session, settings } from "./state/session";
import { listenToOthers } from "./state/sync";
import { say } from "./ui/Toast";

let hasBegun = false;

/** Load what belongs to whoever is signed in. */
export async function beginSession(): Promise<void> {
  void pollStatus();
  const { thread } = current.value;
  const isThere = thread && !thread.value.isBusy; // else it is new: somebody wrote before this was known
  await Promise.all([loadSettings().catch(ignoreFailure), refreshList(), isThere ? load(thread) : null]);
  const moved = await importOldConversations();
  const t = words[settings.value.language];
  if (moved.isUnfinished) say(t.importFailed);
  else if (moved.count) say(fill(t.importedOld, { count: moved.count }));
  if (moved.count) await refreshList();
  await sendWaiting();
  hasBegun = true;
}

/** The status says that the server is away, and the list that it could not be loaded. */
function ignoreFailure(error: unknown): void {
  if (!(error instanceof ApiError)) throw error;
}

async function enter(): Promise<void> {
  try {
    if (await openSession()) await beginSession();
  } catch (error) {
    ignoreFailure(error);
    void pollStatus();
    void refreshList();
  }
}

const RETRY_MS = 3000;
let nextTry = 0; // milliseconds since the epoch
let timer = 0;

/** The server answers: do what could not be done. Not without a pause, for it may answer this but not that. */
function catchUp(): void {
  clearTimeout(timer);
  if (server.value.connection === "offline") nextTry = 0;
  if (server.value.connection !== "ready") return;
  const isFresh = !session.value.isKnown || !hasBegun;
  if (!isFresh && list.value.load !== "failed" && !allUnsent().length && !hasWaitingPictures()) return;
  const pause = nextTry - Date.now();
  if (pause > 0) {
    timer = window.setTimeout(catchUp, pause);
    return;
  }
  nextTry = Date.now() + RETRY_MS;
  if (isFresh) return void enter();
  if (list.value.load === "failed") void refreshList();
  void sendWaiting();
  sendWaitingPictures();
}

export function start(): void {
  server.watch(catchUp);
  listenToOthers({
    onChanged(id) {
      void refreshList();
      reloadChanged(id);
    },
    onBusy: setBusy,
    onSignedOut: () => location.reload(),
  });
  nextTry = Date.now() + RETRY_MS;
  void enter();
}
