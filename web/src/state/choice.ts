// Which model answers: the conversation's own, else that of the settings, else the one that is built in. A model that
// is not there any more is said to be gone; it is never replaced in silence.

import { listNames, patchConversation } from "../api/calls";
import { ApiError } from "../api/client";
import type { ServedModel, Status } from "../api/types";
import { changeSettings, server, settings } from "./session";
import { Store, useSelected, useStore } from "./store";
import type { ThreadStore } from "./thread";

export const BUILT_IN = "local/multimodal-base";

/** The choice for the conversation that is not begun yet. */
export const nextModel = new Store<{ model: string | null }>({ model: null });

/** Models that hold a conversation. */
export const chatModels = (status: Status | null): ServedModel[] =>
  status?.models.filter((model) => model.tasks.includes("chat")) ?? [];

export const isCalled = (model: ServedModel, name: string) => model.id === name || (model.names?.includes(name) ?? false);

/** The last part of a name: what fits into a chip. */
export const shortName = (id: string) => id.slice(id.lastIndexOf("/") + 1);

const underWay = new Map<string, Promise<unknown>>(); // choices that the server does not know yet, by conversation

/** Wait until the server knows which model a conversation chose, or refused it. */
export const choiceIsKnown = async (id: string): Promise<void> => void (await underWay.get(id)?.catch(() => {}));

/** Have another model answer from now on. */
export async function chooseModel(thread: ThreadStore | null, model: string): Promise<void> {
  if (!thread) return nextModel.set({ model });
  const before = thread.value.model;
  thread.set({ model });
  if (!thread.value.isStored) return; // it is told with the first message
  const { id } = thread.value;
  const telling = choiceIsKnown(id).then(() => patchConversation(id, { model }));
  underWay.set(id, telling);
  try {
    await telling;
  } catch (error) {
    thread.set({ model: before });
    throw error;
  } finally {
    if (underWay.get(id) === telling) underWay.delete(id);
  }
}

/** Choose for all conversations that name no model; the built-in one needs no name. */
export const chooseDefault = (model: string) => changeSettings({ model: model === BUILT_IN ? null : model });

/** Names that no model answered to when it was looked up. */
export const missing = new Store<{ names: ReadonlySet<string> }>({ names: new Set() });

/** Find out whether a name that is no model's is an alias, or of nobody. */
export async function lookUp(name: string): Promise<void> {
  const models = server.value.status?.models;
  if (!models || server.value.connection !== "ready") return;
  let isThere = name === BUILT_IN || models.some((model) => isCalled(model, name));
  if (!isThere) {
    try {
      isThere = (await listNames()).data.some((one) => one.id === name);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return; // the next look at the status asks again
    }
  }
  if (missing.value.names.has(name) === !isThere) return;
  const names = new Set(missing.value.names);
  if (isThere) names.delete(name);
  else names.add(name);
  missing.set({ names });
}

/** What a conversation, or with null the next one, is answered by: the name, and the model where it is here. */
export function useChosen(thread: ThreadStore | null): { name: string; model: ServedModel | null; models: ServedModel[] } {
  const { model: next } = useStore(nextModel);
  const { saved } = useStore(settings);
  const { status } = useStore(server);
  const own = useSelected(thread, (one) => one.model);
  const name = (thread ? own : next) ?? saved.model ?? BUILT_IN;
  const models = chatModels(status);
  return { name, model: models.find((one) => isCalled(one, name)) ?? null, models };
}
