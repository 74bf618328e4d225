// Models, licence in words, device, and live figures of memory, speed and queue.

import type { ServedModel, Status, Language } from "../api/types";
import { fill, useWords, type Words } from "../i18n";
import { current } from "../state/chat";
import { useChosen } from "../state/choice";
import type { Connection } from "../state/session";
import { useStore } from "../state/store";
import { bytes, deviceName, number, parameters } from "../ui/format";
import { Choice } from "./Choice";
import { Memory } from "./Memory";

interface Props {
  connection: Connection;
  status: Status | null;
  language: Language;
  onModels(): void;
}

export function ModelPanel({ connection, status, language, onModels }: Props) {
  const t = useWords();
  const { thread } = useStore(current);
  const { model } = useChosen(thread);
  return (
    <>
      <h2>{t.panelTitle}</h2>
      {connection === "offline" ? <p class="hint">{t.errorOffline}</p> : null}
      {connection === "loading" ? <p class="hint">{t.waitingModel}…</p> : null}
      {status?.ready ? <Choice thread={thread} onModels={onModels} /> : null}
      {status ? <Live status={status} language={language} /> : null}
      {status?.ready ? <Memory status={status} language={language} /> : null}
      {model ? <Model model={model} language={language} /> : null}
      {status?.notices.map((notice) => (
        <p class="hint" key={notice}>
          {notice}
        </p>
      ))}
      <section>
        <h3>{t.otherModel}</h3>
        <p class="hint">{t.otherModelText}</p>
        <pre tabIndex={0}>
          <code>localgpt serve --model FOLDER</code>
        </pre>
        <p class="hint">{t.otherModelTrain}</p>
      </section>
    </>
  );
}

function Live({ status, language }: { status: Status; language: Language }) {
  const t = useWords();
  const { tokens_per_s: speed, process_bytes: processBytes } = status;
  const rows: [string, string][] = [
    [t.device, `${deviceName(status.device)} · ${status.dtype}`],
    [t.memoryResident, bytes(status.resident_bytes)],
    ...(processBytes ? ([[t.memoryProcess, bytes(processBytes)]] as [string, string][]) : []),
    ...(speed === undefined || speed === null
      ? []
      : ([[t.speed, speed > 0 ? fill(t.tokensPerSecond, { count: speed.toFixed(1) }) : t.idle]] as [string, string][])),
    [t.running, fill(t.runningOf, { running: status.num_running, max: status.max_batch_size })],
    [t.queue, number(status.num_waiting, language)],
  ];
  return <Rows rows={rows} />;
}

const taskWords = (t: Words): Record<string, string> => ({
  chat: t.taskChat,
  complete: t.taskComplete,
  describe: t.taskDescribe,
  ask: t.taskAsk,
  embed: t.taskEmbed,
});

function Model({ model, language }: { model: ServedModel; language: Language }) {
  const t = useWords();
  const tasks = taskWords(t);
  const isNonCommercial = /\bNC\b|non-?commercial/i.test(model.licence);
  const rows: [string, string][] = [
    [t.panelTasks, model.tasks.map((task) => tasks[task] ?? task).join(language === "zh" ? "、" : ", ")],
    [t.params, parameters(model.num_params)],
    [t.memoryWeights, bytes(model.weight_bytes)],
    [t.context, fill(t.tokens, { count: number(model.context_len, language) })],
    [t.licence, model.licence],
  ];
  return (
    <section>
      <h3>
        {t.panelModel} <code>{model.id}</code>
      </h3>
      <Rows rows={rows} />
      <p class="hint">{isNonCommercial ? t.licenceNonCommercial : t.licenceOther}</p>
    </section>
  );
}

function Rows({ rows }: { rows: [string, string][] }) {
  return (
    <dl>
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
