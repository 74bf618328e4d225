// Open models: what is here, what could be, by what it does; getting it, checking it, removing it.

import { useEffect, useRef, useState } from "preact/hooks";
import { cancelWork, pullModel, removeModel, verifyModel } from "../api/calls";
import type { Job, Language, OpenModel, OpenModels } from "../api/types";
import { fill, useWords, type Words } from "../i18n";
import { current } from "../state/chat";
import { BUILT_IN, chatModels, chooseDefault, chooseModel, isCalled, useChosen } from "../state/choice";
import { isOver, jobOf, openModels, refreshModels, watchWork } from "../state/models";
import { pollStatus, server, settings } from "../state/session";
import { useStore } from "../state/store";
import { Confirm } from "../ui/Dialog";
import { failureOf, type Failure } from "../state/thread";
import { Problem } from "../ui/Problem";
import { wordsOfError } from "../ui/failures";
import { bytes } from "../ui/format";
import { ModelRow, type RowActions } from "./ModelRow";
import { jobWords, JOBS } from "./words";
import "../styles/models.css";

const isHere = (model: OpenModel) => model.copies.length > 0;
const isBegun = (model: OpenModel) => model.broken_off.length > 0;
const isTold = (job: Job) => !isOver(job) || job.state === "failed";

export function Models({ language }: { language: Language }) {
  const t = useWords();
  const { found, error, jobs } = useStore(openModels);
  const { status } = useStore(server);
  const { thread } = useStore(current);
  const chosen = useChosen(thread);
  const places = useRef(new Map<string, boolean>()); // whether a model stands among those that are here
  const [removing, setRemoving] = useState<OpenModel | null>(null);
  const [problem, setProblem] = useState<Failure | null>(null);
  const [said, setSaid] = useState("");
  useEffect(() => {
    void refreshModels();
    watchWork(true);
    return () => watchWork(false);
  }, []);

  const attempt = async (work: () => Promise<unknown>) => {
    setProblem(null);
    try {
      await work();
    } catch (failure) {
      setProblem(failureOf(failure));
    }
  };
  const actions: RowActions = {
    pull: (name) => void attempt(() => pullModel(name)),
    cancel: (model) => void attempt(() => cancelWork(model.id)),
    verify: (model) => void attempt(() => verifyModel(model.id)),
    remove: setRemoving,
    use: (model) =>
      void attempt(async () => {
        await chooseModel(thread, servedId(model));
        setSaid(fill(t.modelUsed, { name: model.id }));
      }),
  };
  /** As the server calls it. */
  const servedId = (model: OpenModel) =>
    status?.models.find((one) => isCalled(one, model.id) || isCalled(one, model.repo))?.id ?? model.id;
  const onRemove = (model: OpenModel) => {
    setRemoving(null);
    void attempt(async () => {
      await removeModel(model.id);
      setSaid(fill(t.modelRemoved, { name: model.id }));
      places.current.delete(model.id);
      await Promise.all([refreshModels(), pollStatus()]);
    });
  };

  if (!found)
    return error ? (
      <p class="problem" role="alert">
        {error.code === "no_keeper" ? t.modelsNoKeeper : wordsOfError(error, t)}
      </p>
    ) : (
      <p class="hint" role="status">
        {t.loading}…
      </p>
    );
  // A row stays where it was first seen, so that it does not run away from whoever presses its buttons.
  const isShownAbove = (model: OpenModel) => {
    const known = places.current.get(model.id);
    const isAbove = known ?? (isHere(model) || isBegun(model) || isWorkedOn(model));
    places.current.set(model.id, isAbove);
    return isAbove;
  };
  const isWorkedOn = (model: OpenModel) => {
    const job = jobOf(jobs, model.repo);
    return job !== null && isTold(job);
  };
  const above = found.data.filter(isShownAbove);
  const row = (model: OpenModel) => (
    <ModelRow
      key={model.id}
      model={model}
      job={jobOf(jobs, model.repo)}
      language={language}
      about={found}
      isChosen={chosen.model !== null && chosen.model.id === servedId(model)}
      canUse={model.served && chatModels(status).some((one) => one.id === servedId(model))}
      actions={actions}
    />
  );
  // What is fetched by its address is known from its work alone until it is here.
  const strangers = jobs.filter((job) => isTold(job) && !found.data.some((model) => model.repo === job.repo));
  return (
    <>
      <p class="hint">{t.modelsText}</p>
      <p class="hint">{factsOf(found, t)}</p>
      <Refusal found={found} />
      {problem ? <Problem failure={problem} /> : null}
      <p class="good" role="status">
        {said}
      </p>
      <DefaultChoice onProblem={setProblem} />
      <h3>{t.modelsHere}</h3>
      <ul class="models">
        <BuiltIn />
        {strangers.map((job) => row(strangerOf(job.repo)))}
        {above.map(row)}
      </ul>
      {found.pull_refusal ? null : <Another onPull={actions.pull} />}
      {JOBS.map((name) => {
        const models = found.data.filter((model) => model.job === name && !isShownAbove(model));
        return models.length ? (
          <section key={name}>
            <h3>{jobWords(t)[name]}</h3>
            <ul class="models">{models.map(row)}</ul>
          </section>
        ) : null;
      })}
      {removing ? (
        <Confirm
          text={fill(t.modelRemoveSure, {
            name: removing.id,
            size: bytes(removing.copies.reduce((sum, copy) => sum + copy.bytes, 0) || removing.broken_off[0]?.here_bytes || 0),
          })}
          yes={t.modelRemove}
          onYes={() => onRemove(removing)}
          onNo={() => setRemoving(null)}
        />
      ) : null}
    </>
  );
}

const strangerOf = (repo: string): OpenModel => ({
  id: repo, repo, job: null, licence: "", commercial: null, gated: false, num_params: null, download_bytes: null,
  memory_bytes: {}, fits: null, lacking_bytes: null, notes: {}, runs: true, served: false, copies: [], broken_off: [],
}); // prettier-ignore

const factsOf = (found: OpenModels, t: Words): string =>
  [
    fill(t.modelsFree, { size: bytes(found.free_bytes) }),
    found.memory_bytes ? fill(t.modelsMemory, { size: bytes(found.memory_bytes) }) : "",
    found.hub ? fill(t.modelsHub, { host: new URL(found.hub).host }) : "",
  ]
    .filter(Boolean)
    .join(" · ");

function Refusal({ found }: { found: OpenModels }) {
  const t = useWords();
  if (!found.pull_refusal) return null;
  const text = {
    admin_only: t.modelsAdminOnly,
    pull_not_allowed: t.errorPullNotAllowed,
    offline: t.errorHubOffline,
  }[found.pull_refusal];
  return (
    <div class="models-refusal" role="note">
      <p>{text}</p>
      {found.pull_refusal_reason && found.pull_refusal !== "admin_only" ? (
        <details>
          <summary>{t.details}</summary>
          <p>{found.pull_refusal_reason}</p>
        </details>
      ) : null}
    </div>
  );
}

/** The model of conversations that name none. */
function DefaultChoice({ onProblem }: { onProblem(failure: Failure): void }) {
  const t = useWords();
  const { saved } = useStore(settings);
  const { status } = useStore(server);
  const models = chatModels(status);
  const chosen = saved.model ?? BUILT_IN;
  const isThere = models.some((model) => isCalled(model, chosen));
  if (models.length < 2 && isThere) return null;
  return (
    <label class="field">
      <span>{t.modelDefault}</span>
      <select
        value={models.find((model) => isCalled(model, chosen))?.id ?? chosen}
        onChange={(event) => {
          chooseDefault(event.currentTarget.value).catch((error: unknown) => onProblem(failureOf(error)));
        }}
      >
        {isThere ? null : <option value={chosen}>{fill(t.modelNotHere, { name: chosen })}</option>}
        {models.map((model) => (
          <option key={model.id} value={model.id}>
            {model.id}
          </option>
        ))}
      </select>
    </label>
  );
}

function BuiltIn() {
  const t = useWords();
  const { status } = useStore(server);
  const model = status?.models.find((one) => one.id === BUILT_IN);
  if (!model) return null;
  return (
    <li class="model">
      <div class="model-text">
        <p class="model-name">
          <strong>{model.id}</strong> <em>{t.modelBuiltIn}</em>
        </p>
        <small>{[bytes(model.weight_bytes), model.licence].join(" · ")}</small>
      </div>
    </li>
  );
}

/** Any model of the hub, by its address. */
function Another({ onPull }: { onPull(name: string): void }) {
  const t = useWords();
  const [name, setName] = useState("");
  const isName = /^[\w.-]+\/[\w.-]+$/.test(name.trim());
  return (
    <form
      class="model-another"
      onSubmit={(event) => {
        event.preventDefault();
        if (!isName) return;
        onPull(name.trim());
        setName("");
      }}
    >
      <label class="field">
        <span>{t.modelAnother}</span>
        <input
          value={name}
          maxLength={200}
          placeholder="OWNER/NAME"
          spellcheck={false}
          autocapitalize="off"
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <small>{t.modelAnotherHint}</small>
      </label>
      <button type="submit" class="button" disabled={!isName}>
        {t.modelPull}
      </button>
    </form>
  );
}
