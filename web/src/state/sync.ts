// Windows of the same page tell each other what changed on the server and what they are having answered, so that none
// works on what is gone or asks for an answer that is being written.

type News = { changed: string | null } | { busy: string; isBusy: boolean } | { hello: true } | { signedOut: true };

const channel = typeof BroadcastChannel === "function" ? new BroadcastChannel("localgpt") : null;
const busyHere = new Set<string>();

/** Tell the other windows that a conversation (or, with null, any of them) changed. */
export function tellOthers(conversationId: string | null): void {
  channel?.postMessage({ changed: conversationId } satisfies News);
}

/** Tell the other windows that an answer is being written here, or not any more. */
export function tellBusy(conversationId: string, isBusy: boolean): void {
  if (isBusy) busyHere.add(conversationId);
  else busyHere.delete(conversationId);
  channel?.postMessage({ busy: conversationId, isBusy } satisfies News);
}

/** Tell the other windows that this browser was signed out. */
export function tellSignedOut(): void {
  channel?.postMessage({ signedOut: true } satisfies News);
}

interface Listener {
  onChanged(conversationId: string | null): void;
  onBusy(conversationId: string, isBusy: boolean): void;
  onSignedOut(): void;
}

export function listenToOthers(listener: Listener): void {
  channel?.addEventListener("message", ({ data }: MessageEvent<News>) => {
    if ("changed" in data) listener.onChanged(data.changed);
    else if ("busy" in data) listener.onBusy(data.busy, data.isBusy);
    else if ("signedOut" in data) listener.onSignedOut();
    else for (const id of busyHere) tellBusy(id, true);
  });
  channel?.postMessage({ hello: true } satisfies News);
  addEventListener("pagehide", () => [...busyHere].forEach((id) => tellBusy(id, false)));
}
