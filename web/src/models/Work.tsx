// How the work on a model goes: how far, how fast, how long still; or how it ended.

import type { Job, OpenModel } from "../api/types";
import { fill, useWords, type Words } from "../i18n";
import { isOver } from "../state/models";
import { Problem } from "../ui/Problem";
import { bytes } from "../ui/format";

export function Work({ model, job }: { model: OpenModel; job: Job | null }) {
  const t = useWords();
  const halted = model.broken_off[0];
  if (job && !isOver(job)) return <Bar name={model.id} job={job} />;
  return (
    <>
      {halted ? (
        <>
          <progress max={halted.total_bytes} value={halted.here_bytes} aria-label={`${model.id}: ${haltedWords(halted, t)}`} />
          <small>{haltedWords(halted, t)}</small>
        </>
      ) : null}
      {job?.error && !(job.kind === "verify" && job.error.code === "wrong_hash") ? <Ended job={job} /> : null}
      {job?.state === "done" && job.kind === "verify" ? (
        <small class="good" role="status">
          {t.workVerified}
        </small>
      ) : null}
    </>
  );
}

const percentOf = (here: number, total: number) => (total ? Math.min(100, Math.floor((100 * here) / total)) : 0);

const haltedWords = ({ here_bytes, total_bytes }: { here_bytes: number; total_bytes: number }, t: Words) =>
  fill(t.workHalted, { percent: percentOf(here_bytes, total_bytes), here: bytes(here_bytes), total: bytes(total_bytes) });

function Bar({ name, job }: { name: string; job: Job }) {
  const t = useWords();
  const isKnown = job.total_bytes > 0 && job.state !== "waiting";
  const title = {
    waiting: t.workWaiting,
    running: job.kind === "verify" ? t.workVerifying : isKnown ? t.workPulling : t.workAsking,
    checking: t.workChecking,
    done: "",
    failed: "",
    cancelled: "",
  }[job.state];
  const percent = percentOf(job.here_bytes, job.total_bytes);
  return (
    <div class="work">
      <p>
        <span>{title}</span>
        {isKnown ? <b>{percent} %</b> : null}
      </p>
      <progress
        aria-label={`${name}: ${title}`}
        {...(isKnown ? { max: job.total_bytes, value: job.here_bytes } : {})}
      />
      <small>{isKnown ? speedWords(job, t) : ""}</small>
      {job.file && job.state === "running" ? (
        <small class="work-file">
          {job.num_parts > 1 ? fill(t.workParts, { file: job.file, count: job.num_parts }) : job.file}
        </small>
      ) : null}
    </div>
  );
}

/** Roughly how long something takes. */
function durationIn(seconds: number, t: Words): string {
  if (seconds < 60) return fill(t.seconds, { count: Math.max(1, Math.round(seconds)) });
  if (seconds < 3600) return fill(t.minutes, { count: Math.round(seconds / 60) });
  return fill(t.hours, { count: Math.round(seconds / 360) / 10 });
}

function speedWords(job: Job, t: Words): string {
  return [
    fill(t.workBytes, { here: bytes(job.here_bytes), total: bytes(job.total_bytes) }),
    job.state === "running" && job.bytes_per_s > 0 ? fill(t.workRate, { size: bytes(job.bytes_per_s) }) : "",
    job.state === "running" && job.remaining_s ? fill(t.workLeft, { time: durationIn(job.remaining_s, t) }) : "",
  ]
    .filter(Boolean)
    .join(" · ");
}

function Ended({ job }: { job: Job }) {
  const { message = "", code = null } = job.error ?? {};
  return <Problem failure={{ kind: "refused", message, retryAt: null, code }} />;
}
