// What happens when the page opens: who is here, their settings and conversations, and what was left unsent.

import { ApiError } from "./api/client";
import { fill, words } from "./i18n";
import { current, load, reloadChanged, sendWaiting } from "./state/chat";
import { sendWaitingPictures } from "./state/composer";
import { importOldConversations } from "./state/legacy";
import { refreshList } from "./state/list";
import { loadSettings, openSession, pollStatus, server, session, settings } from "./state/session";
import { onOthers } from "./state/sync";
import { say } from "./ui/Toast";

let hasBegun = false;

/** Load what belongs to whoever is signed in. */
export async function beginSession(): Promise<void> {
  void pollStatus();
  const { thread } = current.value;
  await Promise.all([loadSettings().catch(ignoreFailure), refreshList(), thread ? load(thread) : null]);
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

export function start(): void {
  let wasAway = false;
  server.watch(() => {
    const { connection } = server.value;
    if (connection === "offline") wasAway = true;
    if (connection !== "ready" || !wasAway) return;
    wasAway = false;
    if (!session.value.isKnown || !hasBegun) void enter();
    else {
      void refreshList();
      void sendWaiting();
      sendWaitingPictures();
    }
  });
  onOthers((id) => {
    void refreshList();
    reloadChanged(id);
  });
  void enter();
}
