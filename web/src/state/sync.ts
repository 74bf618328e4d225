// Windows of the same page tell each other what changed on the server, so that none works on what is gone.

const channel = typeof BroadcastChannel === "function" ? new BroadcastChannel("localgpt") : null;

/** Tell the other windows that a conversation (or, with null, any of them) changed. */
export function tellOthers(conversationId: string | null): void {
  channel?.postMessage({ changed: conversationId });
}

export function onOthers(listener: (conversationId: string | null) => void): void {
  channel?.addEventListener("message", (event: MessageEvent<{ changed?: string | null }>) => {
    if (event.data?.changed !== undefined) listener(event.data.changed);
  });
}
