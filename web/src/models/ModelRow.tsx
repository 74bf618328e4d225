// One open model: what it is, whether it fits, what may be done with it, and how the work on it goes.

import type { Job, Language, OpenModel, OpenModels } from "../api/types";
import { fill, useWords, type Words } from "../i18n";
import { isOver } from "../state/models";
import { bytes, parameters } from "../ui/format";
import { Check } from "../ui/icons";
import { GatedHelp } from "./GatedHelp";
import { Work } from "./Work";
import { fitWords } from "./words";

const MAX_TOLD = 8;

export interface RowActions {
  pull(name: string): void;
  cancel(model: OpenModel): void;
  verify(model: OpenModel): void;
  remove(model: OpenModel): void;
  use(model: OpenModel): void;
}

interface Props {
  model: OpenModel;
  job: Job | null; // the last work on it
  language: Language;
  about: OpenModels;
  canUse: boolean;
  isChosen: boolean; // answers in the conversation that is open
  actions: RowActions;
}

export function ModelRow({ model, job, language, about, canUse, isChosen, actions }: Props) {
  const t = useWords();
  const isHere = model.copies.length > 0;
  const isBegun = model.broken_off.length > 0;
  const isBusy = job !== null && !isOver(job);
  const problems = model.copies.flatMap((copy) => copy.problems);
  const isGated = job?.error?.code === "model_gated";
  const isDamaged = job?.kind === "verify" && job.error?.code === "wrong_hash";
  const fit = fitWords(model, t);
  const note = model.notes[language];
  return (
    <li class="model">
      <div class="model-text">
        <p class="model-name">
          <strong>{model.id}</strong>
          <Tags model={model} />
        </p>
        {note ? <p>{note}</p> : null}
        <small>
          {factsOf(model, t)}
          {fit ? (
            <>
              {" · "}
              <span class={fit.isGood ? "" : "problem"}>{fit.text}</span>
            </>
          ) : null}
        </small>
        {model.commercial === false ? <small class="problem">{t.modelNonCommercial}</small> : null}
        {(problems.length || isDamaged) && !isBusy ? (
          <div class="problem">
            {t.modelDamaged}
            <details>
              <summary>{t.details}</summary>
              {(problems.length ? problems : [job?.error?.message ?? ""]).slice(0, MAX_TOLD).map((line) => (
                <p key={line}>{line}</p>
              ))}
            </details>
          </div>
        ) : null}
        {!isHere && ((model.gated && !about.has_token) || isGated) ? (
          <GatedHelp model={model} hub={about.hub} isOpen={isGated} />
        ) : null}
        {job || isBegun ? <Work model={model} job={job} /> : null}
      </div>
      <div class="model-actions">
        <MainAction
          model={model}
          isBusy={isBusy}
          about={about}
          canUse={canUse}
          isChosen={isChosen}
          actions={actions}
        />
        {isHere && about.is_admin && !isBusy ? (
          <button type="button" class="button" aria-label={`${t.modelVerify}: ${model.id}`} onClick={() => actions.verify(model)}>
            {t.modelVerify}
          </button>
        ) : null}
        {(isHere || isBegun) && about.is_admin && !isBusy ? (
          <button
            type="button"
            class="button is-danger"
            aria-label={`${t.modelRemove}: ${model.id}`}
            onClick={() => actions.remove(model)}
          >
            {t.modelRemove}
          </button>
        ) : null}
        {job?.state === "failed" && !isHere && about.is_admin ? (
          <button
            type="button"
            class="button"
            aria-label={`${t.discard}: ${model.id}`}
            title={t.modelDismiss}
            onClick={() => actions.cancel(model)}
          >
            {t.discard}
          </button>
        ) : null}
      </div>
    </li>
  );
}

type MainProps = Pick<Props, "model" | "about" | "canUse" | "isChosen" | "actions"> & { isBusy: boolean };

/** One button that gets, stops, goes on or uses: the focus stays on it while the model changes its state. */
function MainAction({ model, isBusy, about, canUse, isChosen, actions }: MainProps) {
  const t = useWords();
  const isHere = model.copies.length > 0;
  const canPull = about.pull_refusal === null;
  let label = model.broken_off.length ? t.modelGoOn : t.modelPull;
  let act: (() => void) | null = canPull ? () => actions.pull(model.id) : null;
  if (isBusy) {
    label = t.cancel;
    act = about.is_admin ? () => actions.cancel(model) : null;
  } else if (isHere) {
    label = isChosen ? t.modelUsing : t.modelUse;
    act = canUse ? () => actions.use(model) : null;
  }
  if (!act) return null;
  const isUsed = isHere && !isBusy && isChosen;
  const isMain = !isBusy && !isUsed && (isHere || model.broken_off.length > 0);
  return (
    <button
      type="button"
      class={`button${isMain ? " is-primary" : ""}`}
      aria-label={`${label}: ${model.id}`}
      aria-pressed={isHere && !isBusy ? isChosen : undefined}
      onClick={isUsed ? undefined : act}
    >
      {isUsed ? <Check /> : null}
      {label}
    </button>
  );
}

function Tags({ model }: { model: OpenModel }) {
  const t = useWords();
  const isHere = model.copies.length > 0;
  return (
    <>
      {model.gated ? <em>{t.modelGated}</em> : null}
      {model.runs ? null : <em class="is-quiet">{t.modelNotRun}</em>}
      {isHere && model.runs && !model.served ? <em class="is-quiet">{t.modelNotServed}</em> : null}
    </>
  );
}

function factsOf(model: OpenModel, t: Words): string {
  const here = model.copies.reduce((sum, copy) => sum + copy.bytes, 0);
  return [
    model.num_params ? fill(t.modelParams, { count: parameters(model.num_params) }) : "",
    here ? fill(t.modelOnDisk, { size: bytes(here) }) : "",
    !here && model.download_bytes ? fill(t.modelDownload, { size: bytes(model.download_bytes) }) : "",
    model.licence,
  ]
    .filter(Boolean)
    .join(" · ");
}
