// What is stored, where, and how to take it along or be rid of it.

import { useEffect, useState } from "preact/hooks";
import { exportConversation, getData, listConversations } from "../api/calls";
import type { DataFigures, Language } from "../api/types";
import { fill, useWords } from "../i18n";
import { forget } from "../state/chat";
import { clearDraft } from "../state/composer";
import { removeAll } from "../state/list";
import { forgetTyped } from "../state/local";
import { Confirm } from "../ui/Dialog";
import { wordsOfError } from "../ui/failures";
import { bytes, number } from "../ui/format";
import { saveFile } from "../ui/saveFile";
import { say } from "../ui/Toast";

const PAGE = 100;

async function exportAll(onProgress: (done: number) => void): Promise<void> {
  const all: unknown[] = [];
  let before: string | null = null;
  do {
    const page: Awaited<ReturnType<typeof listConversations>> = await listConversations({ before, limit: PAGE });
    for (const one of page.data) {
      all.push(await exportConversation(one.id));
      onProgress(all.length);
    }
    before = page.next;
  } while (before);
  saveFile("localgpt.json", "application/json", JSON.stringify({ conversations: all }, null, 2));
}

export function Data({ language }: { language: Language }) {
  const t = useWords();
  const [figures, setFigures] = useState<DataFigures | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [exported, setExported] = useState<number | null>(null);
  const [asksDelete, setAsksDelete] = useState(false);

  const load = () =>
    getData().then(setFigures, (error: unknown) => setProblem(wordsOfError(error, t)));
  useEffect(() => void load(), []);

  const onExport = async () => {
    setExported(0);
    try {
      await exportAll(setExported);
    } catch (error) {
      setProblem(wordsOfError(error, t));
    }
    setExported(null);
  };
  const onDelete = async () => {
    setAsksDelete(false);
    try {
      await removeAll();
      forget(null);
      forgetTyped();
      clearDraft();
      say(t.deletedAll);
    } catch (error) {
      setProblem(wordsOfError(error, t));
    }
    await load();
  };
  const rows: [string, string][] = figures
    ? [
        [t.dataConversations, number(figures.conversations, language)],
        [t.dataMessages, number(figures.messages, language)],
        [t.dataPictures, number(figures.attachments, language)],
        [t.dataResponses, number(figures.responses, language)],
        [t.dataSize, bytes(figures.bytes)],
        [t.dataEncrypted, figures.encrypted ? t.yes : t.no],
        [t.dataRetention, figures.retention_days ? fill(t.dataDays, { count: figures.retention_days }) : t.dataForever],
        ...(figures.folder ? ([[t.dataFolder, figures.folder]] as [string, string][]) : []),
      ]
    : [];
  const isEmpty = !figures || !(figures.conversations + figures.attachments + figures.responses);
  return (
    <>
      {problem ? (
        <p class="problem" role="alert">
          {problem}
        </p>
      ) : null}
      <h3>{t.dataHere}</h3>
      <dl class="figures">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <div class="line">
        <span>
          <strong>{t.exportAll}</strong>
          <small>{t.exportAllHint}</small>
        </span>
        <button type="button" class="button" disabled={!figures?.conversations || exported !== null} onClick={() => void onExport()}>
          {exported === null ? t.exportAll : fill(t.exporting, { done: exported, count: figures?.conversations ?? 0 })}
        </button>
      </div>
      <div class="line">
        <span>
          <strong>{t.deleteAll}</strong>
          <small>{t.deleteAllHint}</small>
        </span>
        <button type="button" class="button is-danger" disabled={isEmpty} onClick={() => setAsksDelete(true)}>
          {t.deleteAll}
        </button>
      </div>
      {asksDelete ? (
        <Confirm
          text={t.deleteAllSure}
          yes={t.deleteAllYes}
          onYes={() => void onDelete()}
          onNo={() => setAsksDelete(false)}
        />
      ) : null}
    </>
  );
}
