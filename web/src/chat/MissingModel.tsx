// The model of a conversation is not here any more: says so, and offers those that are. None takes its place by itself.

import { useEffect } from "preact/hooks";
import { fill, useWords } from "../i18n";
import { chooseModel, lookUp, missing, shortName, useChosen } from "../state/choice";
import { server } from "../state/session";
import { useStore } from "../state/store";
import type { ThreadStore } from "../state/thread";
import { wordsOfError } from "../ui/failures";
import { say } from "../ui/Toast";

const MAX_OFFERED = 3;

export function MissingModel({ thread, onModels }: { thread: ThreadStore | null; onModels(): void }) {
  const t = useWords();
  const { connection, status } = useStore(server);
  const { names } = useStore(missing);
  const { name, model, models } = useChosen(thread);
  useEffect(() => void lookUp(name), [name, status]);
  if (connection !== "ready" || model || !names.has(name)) return null;
  return (
    <div class="banner missing-model" role="alert">
      <p>{fill(t.modelGone, { name })}</p>
      <div class="buttons">
        {models.slice(0, MAX_OFFERED).map((one) => (
          <button
            key={one.id}
            type="button"
            class="button"
            onClick={() => {
              chooseModel(thread, one.id).catch((error: unknown) => say(wordsOfError(error, t)));
            }}
          >
            {fill(t.modelGoneUse, { name: shortName(one.id) })}
          </button>
        ))}
        <button type="button" class="button" onClick={onModels}>
          {t.modelMore}
        </button>
      </div>
    </div>
  );
}
