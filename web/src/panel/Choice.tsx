// Which model answers this conversation: the ones that are here, and the way to others.

import type { ServedModel } from "../api/types";
import { fill, useWords, type Words } from "../i18n";
import { chooseModel, useChosen } from "../state/choice";
import type { ThreadStore } from "../state/thread";
import { wordsOfError } from "../ui/failures";
import { bytes, parameters } from "../ui/format";
import { say } from "../ui/Toast";

export function Choice({ thread, onModels }: { thread: ThreadStore | null; onModels(): void }) {
  const t = useWords();
  const { model: chosen, models } = useChosen(thread);
  return (
    <section class="choice">
      {models.length > 1 || !chosen ? (
        <fieldset>
          <legend>{thread ? t.modelOfChat : t.modelOfNext}</legend>
          {models.map((model) => (
            <label key={model.id}>
              <input
                type="radio"
                name="model"
                value={model.id}
                checked={model === chosen}
                onChange={() => {
                  chooseModel(thread, model.id).catch((error: unknown) => say(wordsOfError(error, t)));
                }}
              />
              <span>
                <b>{model.id}</b>
                <small>{factsOf(model, t)}</small>
                {model.leaves_machine ? (
                  <small class="problem">{fill(t.modelLeaves, { host: model.upstream ?? "" })}</small>
                ) : null}
              </span>
            </label>
          ))}
        </fieldset>
      ) : null}
      <button type="button" class="button" onClick={onModels}>
        {t.modelMore}
      </button>
    </section>
  );
}

function factsOf(model: ServedModel, t: Words): string {
  const place = model.upstream
    ? fill(t.modelElsewhere, { host: model.upstream })
    : model.loaded === false
      ? t.modelUnloaded
      : t.modelLoaded;
  return [
    model.num_params ? parameters(model.num_params) : "",
    model.weight_bytes ? bytes(model.weight_bytes) : "",
    model.licence,
    place,
  ]
    .filter(Boolean)
    .join(" · ");
}
