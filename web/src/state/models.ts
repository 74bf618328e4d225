// Open models: what there is, and the work on them as the server tells it. The work is the server's: it goes on when
// this page is closed, and is found again when the page is back.

import { getOpenModels, watchModels } from "../api/calls";
import { ApiError } from "../api/client";
import { readEvents } from "../api/sse";
import type { Job, OpenModels } from "../api/types";
import { pollStatus } from "./session";
import { Store } from "./store";

export const openModels = new Store<{ found: OpenModels | null; error: ApiError | null; jobs: Job[] }>({
  found: null,
  error: null,
  jobs: [],
});

export const isOver = ({ state }: Job) => state === "done" || state === "failed" || state === "cancelled";

/** The work on a model, the last there was. */
export const jobOf = (jobs: Job[], repo: string): Job | null => jobs.find((job) => job.repo === repo) ?? null;

export async function refreshModels(): Promise<void> {
  try {
    openModels.set({ found: await getOpenModels(), error: null });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    openModels.set({ error });
  }
}

const RETRY_MS = 2000;
let numWatchers = 0; // parts of the page that show the work
let stop: AbortController | null = null;

/** Look at the work while `isShown`, and beyond that until all of it is over. */
export function watchWork(isShown: boolean): void {
  numWatchers += isShown ? 1 : -1;
  if (isShown && !stop) void follow();
  else endWhenIdle();
}

function endWhenIdle(): void {
  if (numWatchers === 0 && openModels.value.jobs.every(isOver)) stop?.abort();
}

async function follow(): Promise<void> {
  const controller = new AbortController();
  stop = controller;
  while (!controller.signal.aborted) {
    try {
      const response = await watchModels(controller.signal);
      for await (const data of readEvents(response.body!)) {
        if (data !== "[DONE]") take((JSON.parse(data) as { jobs?: Job[] }).jobs ?? []);
      }
    } catch (error) {
      if (controller.signal.aborted) break;
      if (error instanceof ApiError && (error.kind === "key" || error.kind === "refused")) break;
      // The server is away for a moment, or was started again: what it does then is found then.
    }
    if (!controller.signal.aborted) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  if (stop === controller) stop = null;
}

function take(jobs: Job[]): void {
  const before = openModels.value.jobs;
  openModels.set({ jobs });
  const hasEnded = jobs.some((job) => isOver(job) && before.some((one) => one.repo === job.repo && !isOver(one)));
  if (hasEnded) {
    void refreshModels();
    void pollStatus(); // what was fetched may be asked for now
  }
  endWhenIdle();
}
