// Whether the model is ready, and behind a press: which one, where, how much memory.

import { useEffect, useState } from "preact/hooks";
import { ApiError, fetchStatus, type Status } from "./api";
import { useWords } from "./context";
import { fill } from "./i18n";

export type Connection = "loading" | "ready" | "offline" | "locked";

const FAST_MS = 1000; // until ready
const SLOW_MS = 10_000;

/** Ask the server how it is: often until it is ready, then rarely, never while the page is hidden. */
export function useStatus(askedAgain: number): { connection: Connection; status: Status | null } {
  const [status, setStatus] = useState<Status | null>(null);
  const [connection, setConnection] = useState<Connection>("loading");
  useEffect(() => {
    const controller = new AbortController();
    let timer = 0;
    setConnection("loading"); // what was known of the last key says nothing of this one
    const ask = async () => {
      clearTimeout(timer);
      if (document.hidden) return;
      let isReady = false;
      try {
        const now = await fetchStatus(controller.signal);
        isReady = now.ready;
        setStatus(now);
        setConnection(now.ready ? "ready" : "loading");
      } catch (error) {
        if (controller.signal.aborted) return;
        setConnection(error instanceof ApiError && error.kind === "key" ? "locked" : "offline");
      }
      timer = window.setTimeout(() => void ask(), isReady ? SLOW_MS : FAST_MS);
    };
    const onVisible = () => void ask();
    document.addEventListener("visibilitychange", onVisible);
    void ask();
    return () => {
      controller.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisible);
    };
  }, [askedAgain]);
  return { connection, status };
}

const deviceName = (device: string) =>
  device.startsWith("cuda") ? "GPU" : device === "mps" ? "Apple GPU" : device.toUpperCase();

function count(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} B`;
  return `${Math.round(value / 1e6)} M`;
}

const mebibytes = (bytes: number) =>
  bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`;

export function StatusChip({ connection, status }: { connection: Connection; status: Status | null }) {
  const t = useWords();
  const word = {
    loading: t.statusLoading,
    ready: t.statusReady,
    offline: t.statusOffline,
    locked: t.statusLocked,
  }[connection];
  const device = connection === "ready" && status ? ` · ${deviceName(status.device)}` : "";
  return (
    <>
      <button class={`chip is-${connection}`} popovertarget="status-panel" title={t.statusTitle}>
        <i aria-hidden="true" />
        <span role="status">
          {word}
          {device}
        </span>
      </button>
      <div id="status-panel" class="panel" popover="auto" aria-label={t.statusTitle}>
        <h2>{t.statusTitle}</h2>
        {status ? <Details status={status} /> : <p class="hint">{word}</p>}
      </div>
    </>
  );
}

function Details({ status }: { status: Status }) {
  const t = useWords();
  const model = status.models[0];
  const rows: [string, string][] = [
    [t.device, `${deviceName(status.device)} (${status.device}, ${status.dtype})`],
    [t.memory, mebibytes(status.resident_bytes)],
    [t.busy, fill(t.busyOf, { running: status.num_running, max: status.max_batch_size })],
  ];
  if (model) {
    rows.unshift([t.model, model.id], [t.params, count(model.num_params)]);
    rows.push([t.context, `${model.context_len.toLocaleString()} ${t.tokens}`], [t.licence, model.licence]);
  }
  return (
    <>
      <dl>
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {status.notices.map((notice) => (
        <p class="hint" key={notice}>
          {notice}
        </p>
      ))}
    </>
  );
}
