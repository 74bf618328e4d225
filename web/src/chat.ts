// Conversations and the answers being written into them, as one hook.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, answer } from "./api";
import { browserStore, newId, titleOf, type Conversation, type Turn } from "./store";

export interface Failure {
  kind: ApiError["kind"];
  message: string;
}

export interface Chat {
  conversations: Conversation[];
  current: Conversation | null;
  busy: ReadonlySet<string>; // ids of conversations with an answer under way
  lostPictures: boolean;
  open(id: string | null): void;
  send(text: string, images: string[]): void;
  again(): void;
  stop(): void;
  remove(id: string): void;
  undo(): void;
  removed: Conversation | null;
}

const UNDO_MS = 6000;

/** Failures are kept in the turn as `kind:message`, so that they survive a reload in any language. */
export function failureOf(turn: Turn): Failure | null {
  if (turn.ending !== "error") return null;
  const [kind = "interrupted", ...rest] = (turn.error ?? "interrupted").split(":");
  return { kind: kind as Failure["kind"], message: rest.join(":") };
}

function settled(turn: Turn): Turn {
  // An answer without an end was under way when the page was closed.
  return turn.role === "assistant" && !turn.ending ? { ...turn, ending: "error", error: "interrupted" } : turn;
}

const loadAll = () => browserStore.load().map((one) => ({ ...one, turns: one.turns.map(settled) }));

export function useChat(untitled: string, onKeyNeeded: () => void): Chat {
  const [conversations, setConversations] = useState<Conversation[]>(loadAll);
  const [currentId, setCurrentId] = useState<string | null>(null);
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set());
  const [removed, setRemoved] = useState<Conversation | null>(null);
  const [lostPictures, setLostPictures] = useState(false);
  const running = useRef(new Map<string, AbortController>());
  const all = useRef(conversations);
  const undoTimer = useRef(0);

  const put = useCallback((change: (list: Conversation[]) => Conversation[], save: boolean) => {
    all.current = change(all.current);
    setConversations(all.current);
    if (save && !browserStore.save(all.current)) setLostPictures(true);
  }, []);

  const patchTurn = useCallback(
    (conversationId: string, turnId: string, patch: Partial<Turn>, save = false) =>
      put(
        (list) =>
          list.map((one) =>
            one.id === conversationId
              ? { ...one, turns: one.turns.map((turn) => (turn.id === turnId ? { ...turn, ...patch } : turn)) }
              : one,
          ),
        save,
      ),
    [put],
  );

  const generate = useCallback(
    async (conversation: Conversation) => {
      const controller = new AbortController();
      const turn: Turn = { id: newId(), role: "assistant", text: "" };
      const asked = conversation.turns;
      put(
        (list) => [
          { ...conversation, turns: [...asked, turn], updated: Date.now() },
          ...list.filter((one) => one.id !== conversation.id),
        ],
        true,
      );
      running.current.set(conversation.id, controller);
      setBusy(new Set(running.current.keys()));
      let text = "";
      let notices: string[] = [];
      let frame = 0;
      const draw = () => {
        frame = 0;
        patchTurn(conversation.id, turn.id, { text, notices });
      };
      const soon = () => (frame ||= requestAnimationFrame(draw));
      let patch: Partial<Turn>;
      try {
        const ending = await answer(
          asked,
          {
            onText: (piece) => ((text += piece), soon()),
            onNotices: (more) => ((notices = [...notices, ...more]), soon()),
          },
          controller.signal,
        );
        patch = { ending };
      } catch (error) {
        if (controller.signal.aborted) patch = { ending: "stopped" };
        else if (error instanceof ApiError) {
          patch = { ending: "error", error: `${error.kind}:${error.message}` };
          if (error.kind === "key") onKeyNeeded();
        } else patch = { ending: "error", error: `refused:${String(error)}` };
      }
      cancelAnimationFrame(frame);
      running.current.delete(conversation.id);
      setBusy(new Set(running.current.keys()));
      patchTurn(conversation.id, turn.id, { text, notices, ...patch }, true);
    },
    [put, patchTurn, onKeyNeeded],
  );

  const current = conversations.find((one) => one.id === currentId) ?? null;

  const send = (text: string, images: string[]) => {
    const turn: Turn = { id: newId(), role: "user", text, ...(images.length ? { images } : {}) };
    const conversation = current ?? { id: newId(), title: titleOf(text, untitled), updated: 0, turns: [] };
    setCurrentId(conversation.id);
    void generate({ ...conversation, turns: [...conversation.turns, turn] });
  };

  const again = () => {
    if (!current || busy.has(current.id)) return;
    const last = current.turns.findLastIndex((turn) => turn.role === "user");
    void generate({ ...current, turns: current.turns.slice(0, last + 1) });
  };

  const stop = () => {
    if (currentId) running.current.get(currentId)?.abort();
  };

  const remove = (id: string) => {
    running.current.get(id)?.abort();
    setRemoved(all.current.find((one) => one.id === id) ?? null);
    put((list) => list.filter((one) => one.id !== id), true);
    if (currentId === id) setCurrentId(null);
    clearTimeout(undoTimer.current);
    undoTimer.current = window.setTimeout(() => setRemoved(null), UNDO_MS);
  };

  const undo = () => {
    if (!removed) return;
    const back = { ...removed, turns: removed.turns.map(settled) };
    put((list) => [back, ...list].sort((a, b) => b.updated - a.updated), true);
    setRemoved(null);
  };

  useEffect(() => () => clearTimeout(undoTimer.current), []);

  return { conversations, current, busy, lostPictures, open: setCurrentId, send, again, stop, remove, undo, removed };
}
